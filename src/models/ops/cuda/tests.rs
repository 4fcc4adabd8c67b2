//! Every kernel beside its CPU implementation, forwards and backwards, where there is a GPU.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use crate::models::ops::{
    adamw_step,
    add::add_in_place,
    attention,
    attention_mask::AttentionMask,
    dropout::{self, Dropout},
    gelu, gemm,
    heads::Heads,
    layer_norm, nll,
    nll_targets::Targets,
    precision::Precision,
    rms_norm,
    rotary::{Pairs, Rotary, rotate, rotate_back},
    swiglu, uniform as drawn,
};
use crate::models::{
    TokenTree,
    device::connect,
    test_models::{assert_close, random},
};

/// What rounding in f32 accounts for, where sums have another order.
const EXACT: f64 = 2e-5;

/// What rounding operands to bf16 accounts for (8 bits of mantissa).
const ROUNDED: f64 = 2e-2;

/// The GPU, or a loud excuse.
fn gpu(test: &str) -> Option<Device> {
    match connect() {
        Ok(device) => Some(device),
        Err(e) => {
            eprintln!("SKIPPED {test}: {e}");
            None
        }
    }
}

/// Runs `f` on the CPU and on the GPU, and compares what comes out.
#[track_caller]
fn both(test: &str, operands: &[&Tensor], tolerance: f64, f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>) {
    let Some(device) = gpu(test) else { return };
    let on = |device: &Device| operands.iter().map(|x| x.to_device(device)?.copy()).collect::<Result<Vec<_>>>();
    let want = f(&on(&Device::Cpu).unwrap()).unwrap();
    let got = f(&on(&device).unwrap()).unwrap();
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        assert_close(&got.to_device(&Device::Cpu).unwrap(), want, tolerance);
    }
}

/// More than a key's numbers, and a last block that isn't whole.
#[test]
fn drawn_numbers_are_the_same_bits() {
    let Some(device) = gpu("drawn numbers") else { return };
    for dtype in [DType::F32, DType::BF16] {
        for shape in [[3, 5], [521, 512]] {
            let draw = |device: &Device| {
                drawn::matrix("a", &shape, 0.1, dtype, device)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
            };
            assert!(draw(&device).unwrap() == draw(&Device::Cpu).unwrap(), "{dtype:?} {shape:?}");
        }
    }
}

#[test]
fn norms() {
    for width in [7, 70, 4096] {
        let (x, w, b) = ((random(&[5, width], 1) + 0.5).unwrap(), random(&[width], 2), random(&[width], 3));
        let g = random(&[5, width], 4);
        both("norms", &[&x, &w, &b, &g], EXACT, |t| {
            let [x, w, b, g] = t else { unreachable!() };
            Ok(vec![
                rms_norm::forward(x, w, 1e-6, DType::F32)?,
                rms_norm::backward(x, w, g, 1e-6)?,
                layer_norm::forward(x, w, b, 1e-6)?,
                layer_norm::backward(x, w, g, 1e-6)?,
            ])
        });
    }
}

#[test]
fn activations_and_sums() {
    // One by one, and in fours.
    for half in [33, 36] {
        let width = 2 * half;
        let (x, g, half) = ((random(&[9, width], 1) * 3.0).unwrap(), random(&[9, width], 2), random(&[9, half], 3));
        both("activations", &[&x, &g, &half], EXACT, |t| {
            let [x, g, half] = t else { unreachable!() };
            let sum = x.copy()?;
            add_in_place(&sum, g)?;
            let swiglu = [swiglu::forward(x, DType::F32)?, swiglu::backward(x, half, DType::F32)?];
            Ok([gelu::forward(x)?, gelu::backward(x, g)?, sum].into_iter().chain(swiglu).collect())
        });
    }
}

/// Results in bf16 are those in f32, rounded.
#[test]
fn results_in_bf16() {
    let Some(device) = gpu("results_in_bf16") else { return };
    let same = |f: &dyn Fn(DType) -> Result<Tensor>| {
        let numbers = |t: Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2::<f32>();
        let rounded = f(DType::F32).unwrap().to_device(&Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        assert_eq!(numbers(f(DType::BF16).unwrap()).unwrap(), numbers(rounded).unwrap());
    };
    for half in [33, 36, 1100] {
        let on = |shape: &[usize], seed| random(shape, seed).to_device(&device).unwrap();
        let (x, g, w) = (on(&[5, 2 * half], 1), on(&[5, half], 2), on(&[2 * half], 3));
        same(&|dtype| swiglu::forward(&x, dtype));
        same(&|dtype| swiglu::backward(&x, &g, dtype));
        same(&|dtype| rms_norm::forward(&x, &w, 1e-6, dtype));
    }
}

#[test]
fn rotation() {
    let x = random(&[6, 40], 1);
    for (pairs, dim) in [(Pairs::Halves, 8), (Pairs::Interleaved, 4)] {
        let rotary = Rotary { pairs, dim, theta: 10_000.0 };
        both("rotation", &[&x], EXACT, |t| {
            let table = rotary.table(&[0, 1, 2, 700, 3, 4], t[0].device())?;
            let (there, back) = (t[0].copy()?, t[0].copy()?);
            rotate(&there, &table, rotary, 3, 8)?;
            rotate_back(&back, &table, rotary, 3, 8)?;
            Ok(vec![there, back])
        });
    }
}

#[test]
fn dropout_draws_the_same_mask() {
    both("dropout", &[&random(&[301, 41], 1)], 0.0, |t| {
        Ok(vec![dropout::apply(&t[0], Dropout { p: 0.1, key: u64::MAX - 5 })?])
    });
}

#[test]
fn products_of_views() {
    let (x, w, g) = (random(&[37, 50], 1), random(&[64, 50], 2), random(&[37, 100], 3));
    both("products", &[&x, &w, &g], EXACT, |t| {
        let [x, w, g] = t else { unreachable!() };
        let wide = g.copy()?;
        gemm::set(&wide.narrow(1, 20, 64)?, x, &w.t()?, 1.0)?;
        gemm::add(&wide.narrow(1, 20, 64)?, x, &w.t()?, 0.5)?;
        let own = g.narrow(1, 30, 64)?;
        Ok(vec![
            wide,
            gemm::product(&own, w, 1.0)?,
            gemm::product(&own.t()?, x, 2.0)?,
            gemm::product(&x.narrow(0, 3, 1)?, &w.t()?, 1.0)?,
            gemm::product(x, &w.narrow(0, 5, 1)?.t()?, 1.0)?,
        ])
    });
}

#[test]
fn products_with_bf16() {
    let (x, w, g) = (random(&[37, 50], 1), random(&[64, 50], 2), random(&[37, 100], 3));
    both("products with bf16", &[&x, &w, &g], ROUNDED, |t| {
        let [x, w, g] = t else { unreachable!() };
        let w = w.to_dtype(DType::BF16)?;
        Ok(vec![gemm::product(x, &w.t()?, 1.0)?, gemm::product(&g.narrow(1, 30, 64)?, &w, 0.5)?])
    });
}

#[test]
fn cross_entropy() {
    // 3,000 columns of 400 rows need two blocks.
    for (rows, vocab) in [(3, 50), (400, 3000)] {
        let targets = Targets { rows: vec![0, 2, 0, 1, 2], ids: vec![7, 49, 3, 7, 49] };
        let (h, head, g) = (random(&[rows, 16], 1), random(&[vocab, 16], 2), random(&[5], 3));
        for (dtype, tolerance) in [(DType::F32, EXACT), (DType::BF16, ROUNDED)] {
            both("cross-entropy", &[&h, &head, &g], tolerance, |t| {
                let [h, head, g] = t else { unreachable!() };
                let head = head.to_dtype(dtype)?;
                let (losses, sums) = nll::forward(h, &head, &targets)?;
                let dh = nll::backward(h, &head, &targets, &sums.copy()?, g)?;
                Ok(vec![losses, sums, dh])
            });
        }
    }
}

#[test]
fn adamw_and_norm() {
    let (x, moments, g) = (random(&[30, 41], 1), random(&[2, 30 * 41], 2).abs().unwrap(), random(&[30, 41], 3));
    both("adamw", &[&x, &moments, &g], EXACT, |t| {
        let [x, moments, g] = t else { unreachable!() };
        let step =
            adamw_step::Step { gain1: 0.1, beta2: 0.99, gain2: 0.01, decay: 0.9, step_size: 0.1, root: 0.1, eps: 1e-8 };
        adamw_step::step(x, moments, g, step)?;
        let squares = adamw_step::sum_squares(&[x.clone(), g.clone()])?;
        Ok(vec![x.clone(), moments.clone(), Tensor::new(squares as f32, &Device::Cpu)?])
    });
}

/// A shared beginning, siblings, a chain, a root of its own; segments shorter and longer than any tile.
fn tree() -> TokenTree {
    let mut tree = TokenTree::new();
    let root = tree.push(None, &[0; 5]);
    let a = tree.push(Some(root), &[0; 75]);
    tree.push(Some(a), &[0; 2]);
    tree.push(Some(a), &[0; 3]);
    tree.push(Some(root), &[0; 1]);
    tree.push(None, &[0; 37]);
    tree
}

fn attend(heads: Heads, virtual_tokens: usize, mask: &Arc<AttentionMask>, asking: usize, backward: bool) {
    let tokens = tree().len();
    let (qkv, g) = (random(&[tokens, heads.row()], 1), random(&[asking, heads.queries * heads.dim], 3));
    let prefix = random(&[2, virtual_tokens.max(1), heads.keys * heads.dim], 2);
    let tolerance = if heads.precision == Precision::F32 { EXACT } else { ROUNDED };
    both(&format!("attention {heads:?}, {virtual_tokens} virtual tokens"), &[&qkv, &prefix, &g], tolerance, |t| {
        let [qkv, prefix, g] = t else { unreachable!() };
        let prefix = if virtual_tokens == 0 { prefix.narrow(1, 0, 0)? } else { prefix.clone() };
        let mut out = vec![attention::forward(qkv, &prefix, heads, mask)?];
        if backward {
            let (d_qkv, d_prefix) = attention::backward(qkv, &prefix, g, heads, mask)?;
            out.push(d_qkv);
            if virtual_tokens > 0 {
                out.push(d_prefix);
            }
        }
        Ok(out)
    });
}

#[test]
fn attention_over_trees() {
    let tree = tree();
    for precision in [Precision::F32, Precision::Bf16] {
        // Vectors of 6 and 70 numbers can't be read four numbers at a time.
        for (queries, keys, dim) in [(4, 2, 8), (3, 3, 32), (32, 2, 16), (9, 3, 64), (4, 1, 128), (4, 2, 6), (2, 1, 70)]
        {
            let heads = Heads { queries, keys, dim, precision };
            for virtual_tokens in [0, 3, 70] {
                attend(heads, virtual_tokens, &AttentionMask::new(&tree, 0), tree.len(), true);
            }
        }
        let heads = Heads { queries: 4, keys: 2, dim: 24, precision };
        attend(heads, 3, &AttentionMask::new(&tree, 20), tree.len() - 20, false);
        attend(heads, 3, &AttentionMask::two_sided(&tree), tree.len(), true);
        attend(heads, 3, &AttentionMask::first_of_each(&tree), tree.len(), true);
    }
}

/// Operands that begin in the middle of memory, so that they can't be read four numbers at a time.
#[test]
fn attention_of_unaligned_operands() {
    let heads = Heads { queries: 4, keys: 2, dim: 16, precision: Precision::Bf16 };
    let (tree, mask) = (tree(), AttentionMask::new(&tree(), 0));
    let (qkv, prefix, g) =
        (random(&[tree.len(), heads.row()], 1), random(&[2, 3, 32], 2), random(&[tree.len(), 64], 3));
    let shifted = |x: &Tensor| {
        let flat = x.flatten_all()?;
        Tensor::cat(&[&flat.narrow(0, 0, 1)?, &flat], 0)?.narrow(0, 1, x.elem_count())?.reshape(x.shape())
    };
    for operand in 0..3 {
        both("attention of unaligned operands", &[&qkv, &prefix, &g], ROUNDED, |t| {
            let mut t = t.to_vec();
            t[operand] = shifted(&t[operand])?;
            let (d_qkv, d_prefix) = attention::backward(&t[0], &t[1], &t[2], heads, &mask)?;
            Ok(vec![attention::forward(&t[0], &t[1], heads, &mask)?, d_qkv, d_prefix])
        });
    }
}

#[test]
fn the_same_bits_again() {
    let Some(device) = gpu("the same bits again") else { return };
    let tree = tree();
    let heads = Heads { queries: 8, keys: 2, dim: 64, precision: Precision::Bf16 };
    let on = |x: Tensor| x.to_device(&device).unwrap();
    let (qkv, prefix) = (on(random(&[tree.len(), heads.row()], 1)), on(random(&[2, 3, 128], 2)));
    let g = on(random(&[tree.len(), 512], 3));
    let bits = || -> Result<Vec<f32>> {
        let mask = AttentionMask::new(&tree, 0);
        let (d_qkv, d_prefix) = attention::backward(&qkv, &prefix, &g, heads, &mask)?;
        Tensor::cat(&[d_qkv.flatten_all()?, d_prefix.flatten_all()?], 0)?.to_vec1()
    };
    let first = bits().unwrap();
    for _ in 0..5 {
        assert!(bits().unwrap() == first);
    }
}
