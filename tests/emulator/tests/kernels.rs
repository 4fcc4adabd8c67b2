//! Kernels compiled by nvcc, interpreted, and compared with the same arithmetic here.

mod common;

use cudaemulator::driver::{LoadedModule, run};
use cudaemulator::exec::{Fault, ILLEGAL_ADDRESS, LAUNCH_FAILED, MISALIGNED, Options};
use cudaemulator::memory::{NOTE_USES, memory};
use cudaemulator::races::Search;
use half::bf16;
use std::path::Path;
use std::sync::OnceLock;

fn module(file: &'static str) -> Option<&'static LoadedModule> {
    static BASICS: OnceLock<Option<LoadedModule>> = OnceLock::new();
    static WMMA: OnceLock<Option<LoadedModule>> = OnceLock::new();
    let cell = if file == "basics" { &BASICS } else { &WMMA };
    cell.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kernels/{file}.cu"));
        Some(LoadedModule::new(&common::ptx(&common::nvcc()?, &source)).expect("the module is read"))
    })
    .as_ref()
}

/// An array in device memory.
struct Array<T>(u64, usize, std::marker::PhantomData<T>);

impl<T: Copy> Array<T> {
    fn new(values: &[T]) -> Self {
        let base = memory().alloc(size_of_val(values));
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), base as *mut T, values.len()) };
        Array(base, values.len(), std::marker::PhantomData)
    }
    fn get(&self) -> Vec<T> {
        unsafe { std::slice::from_raw_parts(self.0 as *const T, self.1) }.to_vec()
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        memory().free(self.0);
    }
}

#[derive(Default)]
struct Params(Vec<u8>);

impl Params {
    fn array<T>(self, a: &Array<T>) -> Self {
        self.bytes(&a.0.to_le_bytes())
    }
    fn int(self, v: i32) -> Self {
        self.bytes(&v.to_le_bytes())
    }
    fn float(self, v: f32) -> Self {
        self.bytes(&v.to_le_bytes())
    }
    fn bytes(mut self, b: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(b.len()), 0);
        self.0.extend_from_slice(b);
        self
    }
}

fn launch_with(
    name: &str,
    grid: u32,
    block: u32,
    shared: usize,
    params: Params,
    options: Options,
) -> Option<Result<(), Fault>> {
    let module = module(if name.starts_with("wmma") { "wmma" } else { "basics" })?;
    let program = module.decode(name).expect("the kernel is decoded");
    assert!(program.messages.is_empty(), "{:?}", program.messages);
    Some(run(&program, [grid, 1, 1], [block, 1, 1], shared, &params.0, options))
}

/// Runs a kernel; None where there is no nvcc to compile it.
fn launch(name: &str, grid: u32, block: u32, shared: usize, params: Params) -> Option<Result<(), Fault>> {
    launch_with(name, grid, block, shared, params, Options::default())
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 100.0 - 5.0).collect()
}

#[test]
fn saxpy_is_what_it_says() {
    let (x, y) = (numbers(1000), numbers(2000)[1000..].to_vec());
    let (dx, dy) = (Array::new(&x), Array::new(&y));
    let Some(r) = launch("saxpy", 8, 128, 0, Params::default().float(2.5).array(&dx).array(&dy).int(1000)) else {
        return;
    };
    r.unwrap();
    for (i, v) in dy.get().into_iter().enumerate() {
        assert_eq!(v, 2.5f32.mul_add(x[i], y[i]), "at {i}");
    }
}

#[test]
fn an_overrun_is_caught_with_kernel_and_thread() {
    let y = Array::new(&[0f32; 100]);
    let Some(r) = launch("overrun", 1, 128, 0, Params::default().array(&y)) else { return };
    let fault = r.unwrap_err();
    assert_eq!(fault.code, ILLEGAL_ADDRESS);
    for part in ["kernel overrun", "thread (100, 0, 0)", "st.global", "0 bytes past the end of the 400-byte allocation"]
    {
        assert!(fault.text.contains(part), "{part} in {}", fault.text);
    }
}

#[test]
fn a_misaligned_vector_is_caught() {
    let (x, y) = (Array::new(&[1f32; 16]), Array::new(&[0f32]));
    let Some(r) = launch("vector_load", 1, 1, 0, Params::default().array(&x).array(&y).int(4)) else { return };
    r.unwrap();
    assert_eq!(y.get(), [4.0]);
    let r = launch("vector_load", 1, 1, 0, Params::default().array(&x).array(&y).int(3)).unwrap();
    assert_eq!(r.unwrap_err().code, MISALIGNED);
}

#[test]
fn shuffles_and_barriers_sum_a_block() {
    let x = numbers(4 * 1000);
    let (dx, out) = (Array::new(&x), Array::new(&[0f32; 4]));
    let Some(r) = launch("block_sum", 4, 256, 0, Params::default().array(&dx).array(&out).int(1000)) else { return };
    r.unwrap();
    for (i, v) in out.get().into_iter().enumerate() {
        let sum: f64 = x[i * 1000..(i + 1) * 1000].iter().map(|&v| f64::from(v)).sum();
        assert!((f64::from(v) - sum).abs() < 1e-2, "{v} and {sum}");
    }
}

#[test]
fn a_missing_barrier_shows() {
    let x = numbers(256);
    let (dx, y) = (Array::new(&x), Array::new(&[0f32; 256]));
    let args = || Params::default().array(&dx).array(&y);
    let Some(r) = launch("race", 1, 256, 1024, args()) else { return };
    r.unwrap();
    assert!(y.get().iter().any(|v| v.is_nan()), "what nobody has written is no number");
    let races = Options { races: Search::Warps, reverse: false };
    let fault = launch_with("race", 1, 256, 1024, args(), races).unwrap().unwrap_err();
    assert_eq!(fault.code, LAUNCH_FAILED);
    assert!(fault.text.contains("race on Shared memory"), "{}", fault.text);
    launch_with("reversed", 1, 256, 1024, args(), races).unwrap().unwrap();
    assert_eq!(y.get(), x.iter().rev().copied().collect::<Vec<_>>());
    launch_with("reversed", 1, 256, 1024, args(), Options { races: Search::Lanes, reverse: true }).unwrap().unwrap();
}

#[test]
fn shared_memory_has_the_size_of_the_launch() {
    let (x, y) = (Array::new(&numbers(256)), Array::new(&[0f32; 256]));
    let Some(r) = launch("reversed", 1, 256, 512, Params::default().array(&x).array(&y)) else { return };
    let fault = r.unwrap_err();
    assert_eq!(fault.code, ILLEGAL_ADDRESS);
    assert!(fault.text.contains("outside of shared memory"), "{}", fault.text);
}

#[test]
fn diverged_barriers_are_caught() {
    let y = Array::new(&[0f32; 64]);
    let Some(r) = launch("divergent_barrier", 1, 64, 0, Params::default().array(&y)) else { return };
    assert!(r.unwrap_err().text.contains("barrier divergence"));
}

#[test]
fn atomics_add_up_over_blocks() {
    let x: Vec<u32> = (0..10_000u32).map(|i| i * 31 % 7).collect();
    let (dx, counts, total) = (Array::new(&x), Array::new(&[0u32; 7]), Array::new(&[0f32]));
    let Some(r) =
        launch("histogram", 79, 128, 0, Params::default().array(&dx).array(&counts).array(&total).int(10_000))
    else {
        return;
    };
    r.unwrap();
    let expected: Vec<u32> = (0..7).map(|k| x.iter().filter(|&&v| v == k).count() as u32).collect();
    assert_eq!(counts.get(), expected);
    assert_eq!(total.get(), [5000.0]);
}

#[test]
fn functions_are_close_to_exact() {
    let x = numbers(300);
    let (dx, out) = (Array::new(&x), Array::new(&[0f32; 300 * 12]));
    let Some(r) = launch("functions", 3, 128, 0, Params::default().array(&dx).array(&out).int(300)) else { return };
    r.unwrap();
    for (i, o) in out.get().chunks(12).enumerate() {
        let v = f64::from(x[i]);
        let expected = [
            v.exp(),
            f64::from(x[i].abs() + 1e-3).ln(),
            v.sin(),
            f64::from(x[i] * 1e5).cos(),
            v.tanh(),
            1.0 / f64::from(x[i].abs() + 1.0).sqrt(),
            v.abs().sqrt(),
            f64::NAN,
            v.abs().powf(f64::from(1.7f32)),
            v / f64::from(3.7f32),
            bf16::from_f64(v).to_f64(),
            half::f16::from_f64(v).to_f64(),
        ];
        for (j, (&got, want)) in o.iter().zip(expected).enumerate() {
            let close = want.is_nan() || (f64::from(got) - want).abs() <= 1e-6 + 1e-6 * want.abs();
            assert!(close, "function {j} of {v}: {got}, not {want}");
        }
        assert!((o[7] - erf(x[i])).abs() < 2e-6, "erf({v}) = {}", o[7]);
    }
}

/// The error function by its series.
fn erf(x: f32) -> f32 {
    let x = f64::from(x);
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    (sum * 2.0 / std::f64::consts::PI.sqrt()) as f32
}

#[test]
fn integers_are_exact() {
    let x: Vec<i32> = (0..200i32).map(|i| i.wrapping_mul(987_654_321).wrapping_sub(77)).collect();
    let (dx, out) = (Array::new(&x), Array::new(&[0i64; 200 * 12]));
    let Some(r) = launch("integers", 2, 128, 0, Params::default().array(&dx).array(&out).int(200)) else { return };
    r.unwrap();
    for (i, o) in out.get().chunks(12).enumerate() {
        let (v, u, w) = (x[i], x[i] as u32, x[i].wrapping_mul(3) as u32);
        let byte = |s: u32, n: u32| s >> (8 * n) & 0xff;
        let expected = [
            i64::from(v / 7),
            i64::from(v % 7),
            i64::from(u / 10),
            i64::from(v) * 123_456_789 / 1001,
            i64::from(v.count_ones()),
            i64::from(v.leading_zeros()),
            ((u64::from(u) * 2_654_435_769) >> 32) as i64,
            i64::from(u.reverse_bits()),
            i64::from(v >> 3),
            i64::from(u >> 3),
            i64::from(byte(u, 0) | byte(w, 0) << 8 | byte(u, 1) << 16 | byte(w, 1) << 24),
            i64::from(w << 5 | u >> 27),
        ];
        assert_eq!(o, expected, "of {v}");
    }
}

#[test]
fn pairs_of_half_precision_are_rounded_each() {
    let x: Vec<bf16> = numbers(64).into_iter().map(bf16::from_f32).collect();
    let y: Vec<bf16> = numbers(128)[64..].iter().map(|&v| bf16::from_f32(v)).collect();
    let (dx, dy, out) = (Array::new(&x), Array::new(&y), Array::new(&[bf16::ZERO; 64]));
    let Some(r) = launch("pairs", 1, 32, 0, Params::default().array(&dx).array(&dy).array(&out).int(32)) else {
        return;
    };
    r.unwrap();
    for (i, v) in out.get().into_iter().enumerate() {
        let sum = bf16::from_f32(x[i].to_f32() + y[i].to_f32());
        assert_eq!(v, bf16::from_f64(x[i].to_f64().mul_add(y[i].to_f64(), sum.to_f64())), "at {i}");
    }
}

fn product(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    n: usize,
    k: usize,
    bias: f32,
) -> Vec<f32> {
    (0..16 * n).map(|i| bias + (0..k).map(|l| a(i / n, l) * b(l, i % n)).sum::<f32>()).collect()
}

fn assert_close(got: &[f32], want: &[f32]) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 1e-3 + 1e-5 * w.abs(), "at {i}: {g}, not {w}");
    }
}

#[test]
fn matrix_products_of_a_warp_are_products() {
    let halves = |n| numbers(n).into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (halves(256), halves(400)[256..384].to_vec());
    let (da, db, c) = (Array::new(&a), Array::new(&b), Array::new(&[0f32; 128]));
    let Some(r) = launch("mma_plain", 1, 32, 0, Params::default().array(&da).array(&db).array(&c)) else { return };
    r.unwrap();
    assert_close(&c.get(), &product(|i, l| a[i * 16 + l].to_f32(), |l, j| b[j * 16 + l].to_f32(), 8, 16, 0.0));

    launch("mma_matrix", 1, 32, 0, Params::default().array(&da).array(&db).array(&c).int(1)).unwrap().unwrap();
    assert_close(&c.get(), &product(|i, l| a[i * 16 + l].to_f32(), |l, j| b[l * 8 + j].to_f32(), 8, 16, 0.0));

    launch("mma_matrix", 1, 32, 0, Params::default().array(&da).array(&db).array(&c).int(0)).unwrap().unwrap();
    assert!(c.get().iter().all(|v| v.is_nan()), "without waiting, the copies haven't come");
}

#[test]
fn tf32_products_drop_the_low_bits() {
    let (a, b) = (numbers(128), numbers(192)[128..].to_vec());
    let (da, db, c) = (Array::new(&a), Array::new(&b), Array::new(&[0f32; 128]));
    let Some(r) = launch("mma_tf32", 1, 32, 0, Params::default().array(&da).array(&db).array(&c)) else { return };
    r.unwrap();
    let cut = |v: f32| f32::from_bits(v.to_bits() & 0xffff_e000);
    assert_close(&c.get(), &product(|i, l| cut(a[i * 8 + l]), |l, j| cut(b[j * 8 + l]), 8, 8, 1.0));
}

#[test]
fn wmma_products_are_products() {
    let halves = |n| numbers(n).into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (halves(256), halves(512)[256..].to_vec());
    let (da, db, c) = (Array::new(&a), Array::new(&b), Array::new(&[0f32; 256]));
    let Some(r) = launch("wmma_product", 1, 32, 0, Params::default().array(&da).array(&db).array(&c)) else { return };
    r.unwrap();
    assert_close(&c.get(), &product(|i, l| a[i * 16 + l].to_f32(), |l, j| b[l * 16 + j].to_f32(), 16, 16, 0.0));
}

#[test]
fn kernels_print() {
    let y = Array::new(&[42]);
    let Some(r) = launch("say", 1, 2, 0, Params::default().float(1.5).bytes(&0u32.to_le_bytes()).array(&y)) else {
        return;
    };
    r.unwrap();
}

#[test]
fn lanes_without_a_warp_barrier_are_caught_when_asked() {
    let y = Array::new(&[0f32; 32]);
    let of =
        |name: &str, races| launch_with(name, 1, 32, 0, Params::default().array(&y), Options { races, reverse: false });
    let Some(r) = of("lanes_unordered", Search::Warps) else { return };
    r.unwrap();
    let fault = of("lanes_unordered", Search::Lanes).unwrap().unwrap_err();
    assert!(fault.text.contains("of warp 0"), "{}", fault.text);
    of("lanes_ordered", Search::Lanes).unwrap().unwrap();
}

#[test]
fn blocks_that_add_to_the_same_place_are_caught() {
    NOTE_USES.store(true, std::sync::atomic::Ordering::Relaxed);
    let (x, y) = (Array::new(&numbers(128)), Array::new(&[0f32; 32]));
    let options = Options { races: Search::Warps, reverse: false };
    let of = |grid| launch_with("add_blocks", grid, 32, 0, Params::default().array(&x).array(&y), options);
    let Some(r) = of(1) else { return };
    r.unwrap();
    // A launch after the other is in order.
    of(1).unwrap().unwrap();
    let fault = of(4).unwrap().unwrap_err();
    assert!(fault.text.contains("nothing orders the blocks"), "{}", fault.text);
}
