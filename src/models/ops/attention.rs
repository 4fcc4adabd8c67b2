//! Attention over a token tree, with an optional prefix of keys and values.
//!
//! A segment's queries see the prefix, their ancestors and themselves (causal), or the prefix and their whole segment
//! (two-sided); nothing else is computed. Queries are worked off in blocks of a segment: for each block and key/value head, the keys it sees are gathered into one small matrix. Backward
//! computes the probabilities again. Each key/value head is one task, with its blocks in a fixed order, so that the
//! gradients of shared keys are summed in that order.

use std::sync::Arc;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    attention_mask::{AttentionMask, Block},
    buffers,
    gemm::multiply,
    heads::Heads,
    math,
    operands::{Shared, values},
    strides::{row_major, transposed},
};

/// `[tokens, queries | keys | values]` and the prefix's `[2, virtual_tokens, keys * dim]`, as slices.
struct Operands<'a> {
    heads: Heads,
    qkv: &'a [f32],
    prefix: &'a [f32],
    virtual_tokens: usize,
}

/// The rows of one block and head, gathered.
#[derive(Default)]
struct Gathered {
    /// `[queries * group, dim]`, divided by the square root of `dim`
    q: Vec<f32>,
    /// `[keys, dim]`
    k: Vec<f32>,
    v: Vec<f32>,
    /// `[queries * group, keys]`
    p: Vec<f32>,
}

impl Operands<'_> {
    /// Copies what `block` needs for key/value head `head` and computes its probabilities.
    fn gather(&self, block: &Block, head: usize, to: &mut Gathered) {
        let Heads { queries, keys, dim, .. } = self.heads;
        let (row, group) = (self.heads.row(), self.heads.group());
        let scale = 1.0 / (dim as f32).sqrt();
        to.q.clear();
        for i in block.queries.clone() {
            to.q.extend(self.qkv[i * row + head * group * dim..][..group * dim].iter().map(|x| x * scale));
        }
        let width = keys * dim;
        for (rows, prefix, column) in [
            (&mut to.k, &self.prefix[..self.virtual_tokens * width], queries * dim),
            (&mut to.v, &self.prefix[self.virtual_tokens * width..], (queries + keys) * dim),
        ] {
            rows.clear();
            for i in 0..self.virtual_tokens {
                rows.extend_from_slice(&prefix[i * width + head * dim..][..dim]);
            }
            for j in block.seen.iter().cloned().flatten() {
                rows.extend_from_slice(&self.qkv[j * row + column + head * dim..][..dim]);
            }
        }
        let (m, n) = (block.queries.len() * group, self.virtual_tokens + block.keys);
        to.p.resize(m * n, 0.0);
        multiply((m, n, dim), &mut to.p, row_major(n), false, &to.q, row_major(dim), &to.k, transposed(dim), 1.0);
        for (r, p) in to.p.chunks_exact_mut(n).enumerate() {
            let later = if block.causal { block.queries.len() - 1 - r / group } else { 0 };
            let visible = n - later;
            math::softmax(&mut p[..visible]);
            p[visible..].fill(0.0);
        }
    }

    /// What `mask`'s queries see: `[queries, heads * dim]`.
    fn forward(&self, mask: &AttentionMask) -> Vec<f32> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let group = self.heads.group();
        let width = queries * dim;
        let mut out = buffers::zeros((mask.tokens - mask.from) * width);
        let target = Shared(out.as_mut_ptr());
        let tasks = mask.blocks.len() * keys;
        (0..tasks).into_par_iter().for_each_init(
            || (Gathered::default(), Vec::new()),
            |(gathered, out_rows), task| {
                let (block, head) = (&mask.blocks[task / keys], task % keys);
                self.gather(block, head, gathered);
                let (m, n) = (block.queries.len() * group, self.virtual_tokens + block.keys);
                out_rows.resize(m * dim, 0.0);
                let (p, v) = (&gathered.p, &gathered.v);
                multiply((m, dim, n), out_rows, row_major(dim), false, p, row_major(n), v, row_major(dim), 1.0);
                for (i, from) in block.queries.clone().zip(out_rows.chunks_exact(group * dim)) {
                    // SAFETY: each query row and head belongs to one task.
                    let row = unsafe { target.slice((i - mask.from) * width + head * group * dim, group * dim) };
                    row.copy_from_slice(from);
                }
            },
        );
        out
    }

    /// Gradients of `qkv` and, behind it, of the prefix.
    fn backward(&self, mask: &AttentionMask, grad: &[f32]) -> Vec<f32> {
        let mut out = buffers::zeros(self.qkv.len() + self.prefix.len());
        let target = Shared(out.as_mut_ptr());
        (0..self.heads.keys).into_par_iter().for_each(|head| {
            let mut scratch = BackwardScratch::default();
            for block in &mask.blocks {
                self.backward_block(mask, block, head, grad, &mut scratch, target);
            }
        });
        out
    }

    /// Writes to the columns of `head` in `target` only.
    fn backward_block(
        &self,
        mask: &AttentionMask,
        block: &Block,
        head: usize,
        grad: &[f32],
        scratch: &mut BackwardScratch,
        target: Shared,
    ) {
        let Heads { queries, keys, dim, .. } = self.heads;
        let (row, group) = (self.heads.row(), self.heads.group());
        let (m, n) = (block.queries.len() * group, self.virtual_tokens + block.keys);
        let BackwardScratch { gathered, g, ds, dq, dk, dv } = scratch;
        self.gather(block, head, gathered);
        g.clear();
        for i in block.queries.clone() {
            g.extend_from_slice(&grad[(i - mask.from) * queries * dim + head * group * dim..][..group * dim]);
        }
        for (buffer, len) in [(&mut *ds, m * n), (&mut *dq, m * dim), (&mut *dk, n * dim), (&mut *dv, n * dim)] {
            buffer.resize(len, 0.0);
        }
        let Gathered { q, k, v, p } = gathered;
        multiply((n, dim, m), dv, row_major(dim), false, p, transposed(n), g, row_major(dim), 1.0);
        multiply((m, n, dim), ds, row_major(n), false, g, row_major(dim), v, transposed(dim), 1.0);
        for (ds, p) in ds.chunks_exact_mut(n).zip(p.chunks_exact(n)) {
            softmax_backward(ds, p);
        }
        let scale = 1.0 / (dim as f32).sqrt();
        multiply((m, dim, n), dq, row_major(dim), false, ds, row_major(n), k, row_major(dim), scale);
        multiply((n, dim, m), dk, row_major(dim), false, ds, transposed(n), q, row_major(dim), 1.0);

        for (i, dq) in block.queries.clone().zip(dq.chunks_exact(group * dim)) {
            // SAFETY: every head has columns of its own, and one task.
            unsafe { target.slice(i * row + head * group * dim, group * dim) }.copy_from_slice(dq);
        }
        let behind = self.qkv.len();
        let width = keys * dim;
        for (rows, prefix, column) in
            [(dk, behind, queries * dim), (dv, behind + self.virtual_tokens * width, (queries + keys) * dim)]
        {
            let mut rows = rows.chunks_exact(dim);
            for (i, gradient) in rows.by_ref().take(self.virtual_tokens).enumerate() {
                // SAFETY: as above.
                math::add(unsafe { target.slice(prefix + i * width + head * dim, dim) }, gradient);
            }
            for (j, gradient) in block.seen.iter().cloned().flatten().zip(rows) {
                // SAFETY: as above.
                math::add(unsafe { target.slice(j * row + column + head * dim, dim) }, gradient);
            }
        }
    }
}

#[derive(Default)]
struct BackwardScratch {
    gathered: Gathered,
    g: Vec<f32>,
    ds: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

math::vectorised! {
    /// `dS = P (dP - sum(P dP))` of one row, `[keys]`; `ds` holds `dP`.
    pub fn softmax_backward(ds: &mut [f32], p: &[f32]) {
        let along = math::sum2(ds, p, |a, b| a * b);
        for (ds, p) in ds.iter_mut().zip(p) {
            *ds = p * (*ds - along);
        }
    }
}

struct Forward {
    heads: Heads,
    mask: Arc<AttentionMask>,
}

struct Backward {
    heads: Heads,
    mask: Arc<AttentionMask>,
}

fn operands<'a>(
    heads: Heads,
    mask: &AttentionMask,
    (qkv, qkv_layout): (&'a CpuStorage, &Layout),
    (prefix, prefix_layout): (&'a CpuStorage, &Layout),
) -> Result<Operands<'a>> {
    let virtual_tokens = mask.check(heads, qkv_layout, prefix_layout)?;
    let qkv = values("attention", qkv, qkv_layout)?;
    let prefix = if virtual_tokens == 0 { &[] } else { values("attention", prefix, prefix_layout)? };
    Ok(Operands { heads, qkv, prefix, virtual_tokens })
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "tree-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, lq: &Layout, prefix: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = operands(self.heads, &self.mask, (qkv, lq), (prefix, lp))?.forward(&self.mask);
        let shape = (self.mask.tokens - self.mask.from, self.heads.queries * self.heads.dim);
        Ok((CpuStorage::F32(out), shape.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        qkv: &CudaStorage,
        lq: &Layout,
        prefix: &CudaStorage,
        lp: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        super::cuda::attention_kernels::forward(self.heads, &self.mask, (qkv, lq), (prefix, lp))
    }
}

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "tree-attention-backward"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        lq: &Layout,
        prefix: &CpuStorage,
        lp: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let grad = values("attention", grad, lg)?;
        let out = operands(self.heads, &self.mask, (qkv, lq), (prefix, lp))?.backward(&self.mask, grad);
        let len = out.len();
        Ok((CpuStorage::F32(out), len.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        qkv: &CudaStorage,
        lq: &Layout,
        prefix: &CudaStorage,
        lp: &Layout,
        grad: &CudaStorage,
        lg: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        super::cuda::attention_kernels::backward(self.heads, &self.mask, (qkv, lq), (prefix, lp), (grad, lg))
    }
}

/// Softmax-weighted values: `[asking tokens, queries * dim]`.
///
/// `qkv` is `[tokens, queries | keys | values]` with rotation applied, `prefix` `[2, virtual_tokens, keys * dim]` (keys,
/// then values; `virtual_tokens` may be 0).
///
/// # Errors
/// If an operand has another shape than `heads` and `mask` ask for, or isn't contiguous f32; on CUDA devices also if a
/// head has more than 128 numbers, or the device fails.
pub fn forward(qkv: &Tensor, prefix: &Tensor, heads: Heads, mask: &Arc<AttentionMask>) -> Result<Tensor> {
    qkv.apply_op2_no_bwd(prefix, &Forward { heads, mask: mask.clone() })
}

/// Gradients of `qkv` and `prefix`, in their shapes; `grad` has that of [`forward`]'s result,
/// `[asking tokens, queries * dim]`.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    qkv: &Tensor,
    prefix: &Tensor,
    grad: &Tensor,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<(Tensor, Tensor)> {
    let both = qkv.apply_op3_no_bwd(prefix, grad, &Backward { heads, mask: mask.clone() })?;
    let own = both.narrow(0, 0, qkv.elem_count())?.reshape(qkv.shape())?;
    if prefix.elem_count() == 0 {
        return Ok((own, prefix.clone()));
    }
    // A copy: nobody else holds the storage of the larger one.
    let of_prefix = both.narrow(0, qkv.elem_count(), prefix.elem_count())?.force_contiguous()?;
    Ok((own, of_prefix.reshape(prefix.shape())?))
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Device, Var};

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random, with_threads};
    use crate::models::{ops::precision::Precision, token_tree::TokenTree};

    const HEADS: Heads = Heads { queries: 4, keys: 2, dim: 8, precision: Precision::F32 };

    fn tree() -> TokenTree {
        let mut tree = TokenTree::new();
        let root = tree.push(None, &[0; 5]);
        let a = tree.push(Some(root), &[0; 40]);
        tree.push(Some(a), &[0; 2]);
        tree.push(Some(a), &[0; 3]);
        tree.push(Some(root), &[0; 1]);
        tree.push(None, &[0; 7]);
        tree
    }

    fn owners(tree: &TokenTree) -> Vec<usize> {
        tree.segments().iter().enumerate().flat_map(|(i, s)| vec![i; s.len]).collect()
    }

    /// The same with a dense mask and candle's own ops.
    fn plain(qkv: &Tensor, prefix: &Tensor, tree: &TokenTree) -> Result<Tensor> {
        let owner = owners(tree);
        masked(qkv, prefix, |i, j| {
            let mut above = Some(owner[i]);
            while let Some(s) = above {
                if s == owner[j] {
                    return j <= i;
                }
                above = tree.segments()[s].parent;
            }
            false
        })
    }

    fn masked(qkv: &Tensor, prefix: &Tensor, sees: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
        let n = qkv.dim(0)?;
        let virtual_tokens = prefix.dim(1)?;
        let sees = &sees;
        let mask: Vec<f32> = (0..n)
            .flat_map(|i| {
                (0..virtual_tokens)
                    .map(|_| 0.0)
                    .chain((0..n).map(move |j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY }))
            })
            .collect();
        let mask = Tensor::from_vec(mask, (n, virtual_tokens + n), &Device::Cpu)?;
        let Heads { queries, keys, dim, .. } = HEADS;
        let split = |from: usize, heads: usize| qkv.narrow(1, from * dim, heads * dim)?.reshape((n, heads, dim));
        let with_prefix = |i: usize, own: Tensor| -> Result<Tensor> {
            let all = Tensor::cat(&[&prefix.get(i)?.reshape((virtual_tokens, keys, dim))?, &own], 0)?;
            let (rows, group) = (all.dim(0)?, HEADS.group());
            all.unsqueeze(2)?
                .expand((rows, keys, group, dim))?
                .reshape((rows, queries, dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let q = split(0, queries)?.transpose(0, 1)?.contiguous()?;
        let (k, v) = (with_prefix(0, split(queries, keys)?)?, with_prefix(1, split(queries + keys, keys)?)?);
        let scores = (q.matmul(&k.transpose(1, 2)?)? / (dim as f64).sqrt())?.broadcast_add(&mask)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        p.matmul(&v)?.transpose(0, 1)?.reshape((n, queries * dim))
    }

    #[test]
    fn agrees_with_a_dense_mask_and_finite_differences() -> Result<()> {
        let tree = tree();
        let mask = AttentionMask::new(&tree, 0);
        let qkv = Var::from_tensor(&random(&[tree.len(), HEADS.row()], 1))?;
        let prefix = Var::from_tensor(&random(&[2, 3, 16], 2))?;
        let g = random(&[tree.len(), 32], 3);
        let want = plain(&qkv, &prefix, &tree)?;
        assert_close(&forward(&qkv, &prefix, HEADS, &mask)?, &want, 1e-5);
        let (d_qkv, d_prefix) = backward(&qkv, &prefix, &g, HEADS, &mask)?;
        let grads = (want * &g)?.sum_all()?.backward()?;
        assert_close(&d_qkv, grads.get(&qkv).unwrap(), 1e-5);
        assert_close(&d_prefix, grads.get(&prefix).unwrap(), 1e-5);
        let loss = |qkv: &Tensor, prefix: &Tensor| (forward(qkv, prefix, HEADS, &mask)? * &g)?.sum_all();
        assert_gradient(&qkv, &d_qkv, |x| loss(x, &prefix));
        assert_gradient(&prefix, &d_prefix, |x| loss(&qkv, x));
        Ok(())
    }

    #[test]
    fn two_sided_segments_agree_with_a_dense_mask() -> Result<()> {
        let mut tree = TokenTree::new();
        for len in [5, 70, 1, 33] {
            tree.push(None, &vec![0; len]);
        }
        let qkv = Var::from_tensor(&random(&[tree.len(), HEADS.row()], 1))?;
        let prefix = Var::from_tensor(&random(&[2, 3, 16], 2))?;
        let owner = owners(&tree);
        let whole = masked(&qkv, &prefix, |i, j| owner[i] == owner[j])?;
        let first: Vec<f32> = (0..tree.len()).map(|i| f32::from(i == 0 || owner[i] != owner[i - 1])).collect();
        let first = Tensor::from_vec(first, (tree.len(), 1), &Device::Cpu)?;
        let g = random(&[tree.len(), 32], 3);
        for (mask, want) in [
            (AttentionMask::two_sided(&tree), whole.clone()),
            (AttentionMask::first_of_each(&tree), whole.broadcast_mul(&first)?),
        ] {
            assert_close(&forward(&qkv, &prefix, HEADS, &mask)?, &want, 1e-5);
            let (d_qkv, d_prefix) = backward(&qkv, &prefix, &g, HEADS, &mask)?;
            let grads = (want * &g)?.sum_all()?.backward()?;
            assert_close(&d_qkv, grads.get(&qkv).unwrap(), 1e-5);
            assert_close(&d_prefix, grads.get(&prefix).unwrap(), 1e-5);
        }
        Ok(())
    }

    /// A segment that is seen by all is as good as a prefix.
    #[test]
    fn works_without_a_prefix() -> Result<()> {
        let mut tree = TokenTree::new();
        let root = tree.push(None, &[0; 3]);
        tree.push(Some(root), &[0; 4]);
        let qkv = random(&[7, HEADS.row()], 1);
        let whole =
            forward(&qkv, &Tensor::zeros((2, 0, 16), DType::F32, &Device::Cpu)?, HEADS, &AttentionMask::new(&tree, 0))?;
        let kv = |from: usize| qkv.narrow(0, 0, 3)?.narrow(1, from * 8, 16)?.contiguous();
        let mut alone = TokenTree::new();
        alone.push(None, &[0; 4]);
        let own = qkv.narrow(0, 3, 4)?.contiguous()?;
        let seen = forward(&own, &Tensor::stack(&[kv(4)?, kv(6)?], 0)?, HEADS, &AttentionMask::new(&alone, 0))?;
        assert_close(&whole.narrow(0, 3, 4)?, &seen, 1e-6);
        Ok(())
    }

    #[test]
    fn later_queries_alone_give_the_same_rows() -> Result<()> {
        let tree = tree();
        let (qkv, prefix) = (random(&[tree.len(), HEADS.row()], 1), random(&[2, 3, 16], 2));
        let all = forward(&qkv, &prefix, HEADS, &AttentionMask::new(&tree, 0))?;
        let late = forward(&qkv, &prefix, HEADS, &AttentionMask::new(&tree, 20))?;
        assert_close(&late, &all.narrow(0, 20, tree.len() - 20)?, 1e-6);
        Ok(())
    }

    #[test]
    fn thread_count_does_not_change_bits() -> Result<()> {
        let tree = tree();
        let mask = AttentionMask::new(&tree, 0);
        let (qkv, prefix) = (random(&[tree.len(), HEADS.row()], 1), random(&[2, 3, 16], 2));
        let g = random(&[tree.len(), 32], 3);
        let bits = |threads| {
            with_threads(threads, || {
                let (dqkv, dprefix) = backward(&qkv, &prefix, &g, HEADS, &mask)?;
                let out = forward(&qkv, &prefix, HEADS, &mask)?;
                Tensor::cat(&[out.flatten_all()?, dqkv.flatten_all()?, dprefix.flatten_all()?], 0)?.to_vec1::<f32>()
            })
        };
        assert!(bits(1)? == bits(3)?);
        Ok(())
    }
}
