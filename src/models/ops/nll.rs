//! Cross-entropy over a large vocabulary, block by block of its columns: `[rows, vocab]` never exists as a whole.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    gemm::multiply_parallel,
    math,
    nll_targets::{Targets, blocks},
    numbers::Numbers,
    operands::values,
    strides::{row_major, transposed},
};

struct Forward {
    targets: Targets,
}

struct Backward {
    targets: Targets,
}

/// The output layer's weights, `[vocab, hidden]`.
fn weights<'a>(head: &'a CpuStorage, layout: &Layout) -> Result<Numbers<'a>> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(Numbers::of(head)?.slice(from, to)),
        None => candle_core::bail!("nll needs a contiguous output layer, not strides {:?}", layout.stride()),
    }
}

/// Logits of one block, `[rows, len]`, from that block of the output layer.
fn logits(h: &[f32], head: Numbers, hidden: usize, len: usize, out: &mut Vec<f32>) {
    let rows = h.len() / hidden;
    out.clear();
    out.resize(rows * len, 0.0);
    multiply_parallel(
        (rows, len, hidden),
        out,
        row_major(len),
        false,
        h,
        row_major(hidden),
        head,
        transposed(hidden),
        1.0,
    );
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "nll"
    }

    /// One number per target, then the log-sum-exp of each row.
    fn cpu_fwd(&self, h: &CpuStorage, lh: &Layout, head: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, hidden) = lh.shape().dims2()?;
        let (vocab, _) = lw.shape().dims2()?;
        let (h, head) = (values("nll", h, lh)?, weights(head, lw)?);
        let count = self.targets.ids.len();
        let mut out = vec![0f32; count + rows];
        let mut running = vec![(f32::NEG_INFINITY, 0f32); rows];
        let mut block = Vec::new();
        for (start, len) in blocks(rows, vocab) {
            let head = head.slice(start * hidden, (start + len) * hidden);
            logits(h, head, hidden, len, &mut block);
            for (i, row, column) in self.targets.within(start, len) {
                out[i] = block[row * len + column];
            }
            block.par_chunks_exact_mut(len).zip(&mut running).for_each(|(row, (max, sum))| {
                let larger = max.max(math::max(row));
                let own = math::exp_and_sum(row, larger);
                *sum = if *sum == 0.0 { own } else { *sum * (*max - larger).exp() + own };
                *max = larger;
            });
        }
        for (row, (max, sum)) in running.iter().enumerate() {
            out[count + row] = max + sum.ln();
        }
        for (i, row) in self.targets.rows.iter().enumerate() {
            out[i] = out[count + *row as usize] - out[i];
        }
        let len = out.len();
        Ok((CpuStorage::F32(out), len.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, h: &CudaStorage, lh: &Layout, head: &CudaStorage, lw: &Layout) -> Result<(CudaStorage, Shape)> {
        super::cuda::nll_kernels::forward(&self.targets, (h, lh), (head, lw))
    }
}

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "nll-backward"
    }

    /// `third`: the gradient of each target, then the log-sum-exp of each row.
    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        lh: &Layout,
        head: &CpuStorage,
        lw: &Layout,
        third: &CpuStorage,
        lt: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, hidden) = lh.shape().dims2()?;
        let (vocab, _) = lw.shape().dims2()?;
        let (h, head) = (values("nll", h, lh)?, weights(head, lw)?);
        let (grads, sums) = values("nll", third, lt)?.split_at(self.targets.ids.len());
        let mut weights = vec![0f32; rows];
        for (row, g) in self.targets.rows.iter().zip(grads) {
            weights[*row as usize] += g;
        }
        let mut out = vec![0f32; rows * hidden];
        let mut block = Vec::new();
        for (start, len) in blocks(rows, vocab) {
            let head = head.slice(start * hidden, (start + len) * hidden);
            logits(h, head, hidden, len, &mut block);
            block.par_chunks_exact_mut(len).zip(sums).zip(&weights).for_each(|((row, sum), weight)| {
                math::exp_and_sum(row, *sum);
                math::scale(row, *weight);
            });
            for (i, row, column) in self.targets.within(start, len) {
                block[row * len + column] -= grads[i];
            }
            multiply_parallel(
                (rows, hidden, len),
                &mut out,
                row_major(hidden),
                start > 0,
                &block,
                row_major(len),
                head,
                row_major(hidden),
                1.0,
            );
        }
        Ok((CpuStorage::F32(out), lh.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        h: &CudaStorage,
        lh: &Layout,
        head: &CudaStorage,
        lw: &Layout,
        third: &CudaStorage,
        lt: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        super::cuda::nll_kernels::backward(&self.targets, (h, lh), (head, lw), (third, lt))
    }
}

/// `-log softmax(h head^T)[row, id]` of every target, `[targets]`, and the log-sum-exp of every row, `[rows]`.
///
/// `h` `[rows, hidden]`, `head` `[vocab, hidden]`.
///
/// # Errors
/// If `h` isn't a contiguous f32 matrix, `head` isn't a contiguous matrix of f32, bf16 or f16, or the device fails.
pub fn forward(h: &Tensor, head: &Tensor, targets: &Targets) -> Result<(Tensor, Tensor)> {
    let both = h.apply_op2_no_bwd(head, &Forward { targets: targets.clone() })?;
    let count = targets.ids.len();
    Ok((both.narrow(0, 0, count)?, both.narrow(0, count, h.dim(0)?)?))
}

/// Gradient of `h`, `[rows, hidden]`, from that of the result, `[targets]`; `sums`, `[rows]`, are [`forward`]'s
/// log-sum-exps.
///
/// # Errors
/// As [`forward`].
pub fn backward(h: &Tensor, head: &Tensor, targets: &Targets, sums: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let third = Tensor::cat(&[grad, sums], 0)?;
    h.apply_op3_no_bwd(head, &third, &Backward { targets: targets.clone() })
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Var};

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random, with_threads};

    #[test]
    fn half_precision_gives_the_bits_of_the_same_numbers_in_f32() -> Result<()> {
        let (rows, vocab) = (400, 3000);
        let targets = Targets { rows: vec![0, 2, 0, 1], ids: vec![7, 2999, 3, 7] };
        let (h, g) = (random(&[rows, 16], 1), random(&[4], 3));
        let bits = |head: &Tensor| {
            let (nll, sums) = forward(&h, head, &targets)?;
            let back = backward(&h, head, &targets, &sums, &g)?;
            Tensor::cat(&[nll, back.flatten_all()?], 0)?.to_vec1::<f32>()
        };
        for dtype in [DType::BF16, DType::F16] {
            let head = random(&[vocab, 16], 2).to_dtype(dtype)?;
            assert!(bits(&head)? == bits(&head.to_dtype(DType::F32)?)?, "{dtype:?}");
        }
        Ok(())
    }

    #[test]
    fn agrees_with_plain_ops_and_finite_differences() -> Result<()> {
        // 3,000 columns of 400 rows need two blocks.
        for (rows, vocab) in [(3, 50), (400, 3000)] {
            let targets = Targets { rows: vec![0, 2, 0, 1], ids: vec![7, 49, 3, 7] };
            let (h, head, g) = (random(&[rows, 16], 1), random(&[vocab, 16], 2), random(&[4], 3));
            let plain = |h: &Tensor| -> Result<Tensor> {
                let logits = h.matmul(&head.t()?)?;
                let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
                let log_p = logits.broadcast_sub(&logits.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
                let at = targets.rows.iter().zip(&targets.ids);
                Tensor::stack(
                    &at.map(|(r, i)| log_p.get(*r as usize)?.get(*i as usize)).collect::<Result<Vec<_>>>()?,
                    0,
                )?
                .neg()
            };
            let (nll, sums) = forward(&h, &head, &targets)?;
            assert_close(&nll, &plain(&h)?, 1e-5);
            let var = Var::from_tensor(&h)?;
            let grads = (plain(&var)? * &g)?.sum_all()?.backward()?;
            let fast = backward(&h, &head, &targets, &sums, &g)?;
            assert_close(&fast, grads.get(&var).unwrap(), 1e-5);
            if rows == 3 {
                assert_gradient(&h, &fast, |h| (forward(h, &head, &targets)?.0 * &g)?.sum_all());
            }
            let bits = |threads| {
                with_threads(threads, || {
                    let (nll, sums) = forward(&h, &head, &targets)?;
                    let back = backward(&h, &head, &targets, &sums, &g)?;
                    Tensor::cat(&[nll, back.flatten_all()?], 0)?.to_vec1::<f32>()
                })
            };
            assert!(bits(1)? == bits(3)?);
        }
        Ok(())
    }
}
