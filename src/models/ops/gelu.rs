//! GELU (Hendrycks & Gimpel 2016): `x Phi(x)`, with the distribution function `Phi` of the standard normal.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    buffers, math,
    operands::{GRAIN, values},
};

struct Forward;
struct Backward;

/// `Phi(x)` and `exp(-x^2 / 2)`.
///
/// The error function is Abramowitz & Stegun's 7.1.26, which is off by 1.5e-7 at most: what f32 resolves near one.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let e = math::exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * e;
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

math::vectorised! {
    /// `gelu(x) = x Phi(x)` (Hendrycks & Gimpel 2016), of one row, `[width]`.
    pub fn forward_row(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * normal(*x).0;
        }
    }

    /// `d/dx x Phi(x) = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)`, times `g`; all are one row, `[width]`.
    pub fn backward_row(x: &[f32], g: &[f32], d: &mut [f32]) {
        const DENSITY: f32 = 0.398_942_3;
        for ((d, x), g) in d.iter_mut().zip(x).zip(g) {
            let (phi, e) = normal(*x);
            *d = g * (phi + x * e * DENSITY);
        }
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(self.name(), x, lx)?;
        let mut out = buffers::take(x.len());
        out.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| forward_row(x, y));
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{ELEMENTWISE, Pointer, alloc, launch, over, storage, values};
        let len = lx.shape().elem_count();
        let out = alloc(&x.device, len)?;
        launch!(&x.device, ELEMENTWISE, "gelu", over(len), (values(self.name(), x, lx)?, Pointer::of(&out), len));
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        "gelu-backward"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, g: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (values(self.name(), x, lx)?, values(self.name(), g, lg)?);
        let mut out = buffers::take(x.len());
        out.par_chunks_mut(GRAIN)
            .zip(x.par_chunks(GRAIN))
            .zip(g.par_chunks(GRAIN))
            .for_each(|((d, x), g)| backward_row(x, g, d));
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout, g: &CudaStorage, lg: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{ELEMENTWISE, Pointer, alloc, launch, over, storage, values};
        let len = lx.shape().elem_count();
        let out = alloc(&x.device, len)?;
        let (from, g) = (values(self.name(), x, lx)?, values(self.name(), g, lg)?);
        launch!(&x.device, ELEMENTWISE, "gelu_backward", over(len), (from, g, Pointer::of(&out), len));
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

/// Elementwise; any shape. `[...]` to the same.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn forward(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Forward)
}

/// Gradient of `x` from that of the result. All of one shape, `[...]`.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn backward(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(grad, &Backward)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random};

    #[test]
    fn agrees_with_plain_ops_and_finite_differences() -> Result<()> {
        let (x, g) = ((random(&[5, 66], 1) * 3.0)?, random(&[5, 66], 2));
        assert_close(&forward(&x)?, &x.gelu_erf()?, 1e-6);
        let var = Var::from_tensor(&x)?;
        let grads = (var.gelu_erf()? * &g)?.sum_all()?.backward()?;
        let fast = backward(&x, &g)?;
        assert_close(&fast, grads.get(&var).unwrap(), 1e-5);
        assert_gradient(&x, &fast, |x| (forward(x)? * &g)?.sum_all());
        Ok(())
    }

    #[test]
    fn far_from_zero_it_is_zero_or_the_number_itself() -> Result<()> {
        let x = Tensor::new(&[-1e30f32, -40.0, 0.0, 40.0, 1e30], &Device::Cpu)?;
        assert_eq!(forward(&x)?.to_vec1::<f32>()?, [0.0, 0.0, 0.0, 40.0, 1e30]);
        let slopes = backward(&x, &x.ones_like()?)?.to_vec1::<f32>()?;
        assert!(slopes[0] == 0.0 && (slopes[2] - 0.5).abs() < 1e-6 && slopes[4] == 1.0, "{slopes:?}");
        Ok(())
    }
}
