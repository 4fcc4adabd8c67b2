//! Root-mean-square norm (Zhang & Sennrich 2019): `y = w x / sqrt(mean(x^2) + eps)`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    buffers, math,
    operands::{f32_alone, rows_per_task, values},
};

struct Forward {
    eps: f32,
    /// Of the result.
    dtype: DType,
}

struct Backward {
    eps: f32,
}

math::vectorised! {
    /// The norm of one row, `[width]` (Zhang & Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight`.
    pub fn forward_row(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        let square = math::sum2(x, x, |a, b| a * b);
        let r = 1.0 / (square / x.len() as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = w * (x * r);
        }
    }

    /// `dx = r (w g - x r^2 mean(w g x))` of one row, `[width]`, with `r = 1 / sqrt(mean(x^2) + eps)`; `y` holds `w g`
    /// meanwhile.
    pub fn backward_row(x: &[f32], w: &[f32], g: &[f32], eps: f32, y: &mut [f32]) {
        let square = math::sum2(x, x, |a, b| a * b);
        let r = 1.0 / (square / x.len() as f32 + eps).sqrt();
        for ((y, g), w) in y.iter_mut().zip(g).zip(w) {
            *y = w * g;
        }
        let along = math::sum2(x, y, |a, b| a * b) / x.len() as f32 * r * r;
        for (y, x) in y.iter_mut().zip(x) {
            *y = r * (*y - x * along);
        }
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        f32_alone(self.name(), self.dtype)?;
        let (x, w) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?);
        let width = w.len();
        let mut out = buffers::take(x.len());
        let task = rows_per_task(width) * width;
        out.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                forward_row(x, w, self.eps, y);
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout, w: &CudaStorage, lw: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{NORMS, by_row, launch, result, values};
        let (rows, width) = lx.shape().dims2()?;
        let (out, to) = result(&x.device, self.dtype, rows * width)?;
        let (from, w) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?);
        let kernel = if self.dtype == DType::F32 { "rms_norm" } else { "rms_norm_bf16" };
        launch!(&x.device, NORMS, kernel, by_row(rows), (from, w, to, width as i32, self.eps));
        Ok((out, lx.shape().clone()))
    }
}

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "rms-norm-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, g) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?, values(self.name(), g, lg)?);
        let width = w.len();
        let mut out = buffers::take(x.len());
        let task = rows_per_task(width) * width;
        out.par_chunks_mut(task).zip(x.par_chunks(task)).zip(g.par_chunks(task)).for_each(|((y, x), g)| {
            for ((y, x), g) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(g.chunks_exact(width)) {
                backward_row(x, w, g, self.eps, y);
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        w: &CudaStorage,
        lw: &Layout,
        g: &CudaStorage,
        lg: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{NORMS, Pointer, alloc, by_row, launch, storage, values};
        let (rows, width) = lx.shape().dims2()?;
        let out = alloc(&x.device, rows * width)?;
        let (from, w, g) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?, values(self.name(), g, lg)?);
        let to = Pointer::of(&out);
        launch!(&x.device, NORMS, "rms_norm_backward", by_row(rows), (from, w, g, to, width as i32, self.eps));
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

/// `x` `[rows, width]`, `weight` `[width]`; the result is f32 or, on GPUs, rounded to bf16.
///
/// # Errors
/// If an operand isn't contiguous f32, the device doesn't round to `dtype`, or it fails.
pub fn forward(x: &Tensor, weight: &Tensor, eps: f64, dtype: DType) -> Result<Tensor> {
    x.apply_op2_no_bwd(weight, &Forward { eps: eps as f32, dtype })
}

/// Gradient of `x` from that of the result. All three are `[rows, width]`, `weight` is `[width]`.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn backward(x: &Tensor, weight: &Tensor, grad: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op3_no_bwd(weight, grad, &Backward { eps: eps as f32 })
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Var};

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random};

    fn plain(x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(mean + 1e-6)?.sqrt()?)?.broadcast_mul(w)
    }

    #[test]
    fn agrees_with_plain_ops_and_finite_differences() -> Result<()> {
        let (x, w, g) = (random(&[5, 70], 1), random(&[70], 2), random(&[5, 70], 3));
        assert_close(&forward(&x, &w, 1e-6, DType::F32)?, &plain(&x, &w)?, 1e-6);
        let var = Var::from_tensor(&x)?;
        let grads = (plain(&var, &w)? * &g)?.sum_all()?.backward()?;
        let fast = backward(&x, &w, &g, 1e-6)?;
        assert_close(&fast, grads.get(&var).unwrap(), 1e-5);
        assert_gradient(&x, &fast, |x| (forward(x, &w, 1e-6, DType::F32)? * &g)?.sum_all());
        Ok(())
    }
}
