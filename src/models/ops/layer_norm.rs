//! Layer norm (Ba et al. 2016): `y = w (x - mean(x)) / sqrt(var(x) + eps) + b`, with the biased variance.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    buffers, math,
    operands::{rows_per_task, values},
};

struct Forward {
    eps: f32,
}

struct Backward {
    eps: f32,
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = math::sum2(x, x, |a, _| a) / n;
    let variance = math::sum2(x, x, |a, _| (a - mean) * (a - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

math::vectorised! {
    /// The norm of one row, `[width]` (Ba et al. 2016): `(x - mean) / sqrt(variance + eps) * weight + bias`.
    pub fn forward_row(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) {
        let (mean, r) = moments(x, eps);
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
            *y = w * ((x - mean) * r) + b;
        }
    }

    /// `dx = r (w g - mean(w g) - x' mean(w g x'))` of one row, `[width]`, with `x' = (x - mean(x)) r`; `y` holds `w g`
    /// meanwhile.
    pub fn backward_row(x: &[f32], w: &[f32], g: &[f32], eps: f32, y: &mut [f32]) {
        let (mean, r) = moments(x, eps);
        for ((y, g), w) in y.iter_mut().zip(g).zip(w) {
            *y = w * g;
        }
        let n = x.len() as f32;
        let level = math::sum2(y, y, |a, _| a) / n;
        let along = math::sum2(x, y, |x, y| (x - mean) * r * y) / n;
        for (y, x) in y.iter_mut().zip(x) {
            *y = r * (*y - level - (x - mean) * r * along);
        }
    }
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?, values(self.name(), b, lb)?);
        let width = w.len();
        let mut out = buffers::take(x.len());
        let task = rows_per_task(width) * width;
        out.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                forward_row(x, w, b, self.eps, y);
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
        b: &CudaStorage,
        lb: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{NORMS, Pointer, alloc, by_row, launch, storage, values};
        let (rows, width) = lx.shape().dims2()?;
        let out = alloc(&x.device, rows * width)?;
        let (from, w, b) = (values(self.name(), x, lx)?, values(self.name(), w, lw)?, values(self.name(), b, lb)?);
        let to = Pointer::of(&out);
        launch!(&x.device, NORMS, "layer_norm", by_row(rows), (from, w, b, to, width as i32, self.eps));
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

impl CustomOp3 for Backward {
    fn name(&self) -> &'static str {
        "layer-norm-backward"
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
        launch!(&x.device, NORMS, "layer_norm_backward", by_row(rows), (from, w, g, to, width as i32, self.eps));
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

/// `x` and the result are `[rows, width]`, `weight` and `bias` `[width]`.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn forward(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op3_no_bwd(weight, bias, &Forward { eps: eps as f32 })
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
    use crate::models::test_models::{assert_close, assert_gradient, random, with_threads};

    fn plain(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(w)?.broadcast_add(b)
    }

    #[test]
    fn agrees_with_plain_ops_and_finite_differences() -> Result<()> {
        let (x, w, b, g) = ((random(&[5, 70], 1) + 3.0)?, random(&[70], 2), random(&[70], 3), random(&[5, 70], 4));
        assert_close(&forward(&x, &w, &b, 1e-6)?, &plain(&x, &w, &b)?, 1e-6);
        let var = Var::from_tensor(&x)?;
        let grads = (plain(&var, &w, &b)? * &g)?.sum_all()?.backward()?;
        let fast = backward(&x, &w, &g, 1e-6)?;
        assert_close(&fast, grads.get(&var).unwrap(), 1e-5);
        assert_gradient(&x, &fast, |x| (forward(x, &w, &b, 1e-6)? * &g)?.sum_all());
        Ok(())
    }

    #[test]
    fn thread_count_does_not_change_bits() -> Result<()> {
        let (x, w, b) = (random(&[500, 70], 1), random(&[70], 2), random(&[70], 3));
        let bits = |threads| {
            with_threads(threads, || {
                let both = [forward(&x, &w, &b, 1e-6)?, backward(&x, &w, &x, 1e-6)?];
                Tensor::cat(&both, 0)?.flatten_all()?.to_vec1::<f32>()
            })
        };
        assert!(bits(1)? == bits(3)?);
        Ok(())
    }
}
