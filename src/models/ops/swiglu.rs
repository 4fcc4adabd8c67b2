//! SwiGLU (Shazeer 2020): `silu(gate) * up`, with `silu(x) = x sigmoid(x)`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    buffers, math,
    operands::{f32_alone, rows_per_task, values},
};

struct Forward(DType);
struct Backward(DType);

math::vectorised! {
    /// `silu(gate) * up` (Shazeer 2020), of one row; all are `[width / 2]`.
    pub fn forward_row(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, x), up) in y.iter_mut().zip(gate).zip(up) {
            *y = x * math::sigmoid(*x) * up;
        }
    }

    /// The gradient of one row of [`forward_row`]; all are `[width / 2]`.
    pub fn backward_row(gate: &[f32], up: &[f32], g: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        for ((((x, up), g), d_gate), d_up) in gate.iter().zip(up).zip(g).zip(d_gate).zip(d_up) {
            let s = math::sigmoid(*x);
            *d_up = g * x * s;
            *d_gate = g * up * (s * (1.0 + x * (1.0 - s)));
        }
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        f32_alone(self.name(), self.0)?;
        let (rows, width) = lx.shape().dims2()?;
        let x = values(self.name(), x, lx)?;
        let half = width / 2;
        let mut out = buffers::take(rows * half);
        let task = rows_per_task(width);
        out.par_chunks_mut(task * half).zip(x.par_chunks(task * width)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(half).zip(x.chunks_exact(width)) {
                forward_row(&x[..half], &x[half..], y);
            }
        });
        Ok((CpuStorage::F32(out), (rows, half).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{ELEMENTWISE, launch, over_rows, result, values};
        let (rows, width) = lx.shape().dims2()?;
        let half = width / 2;
        let (out, to) = result(&x.device, self.0, rows * half)?;
        let from = values(self.name(), x, lx)?;
        let kernel = if self.0 == DType::F32 { "swiglu" } else { "swiglu_bf16" };
        launch!(&x.device, ELEMENTWISE, kernel, over_rows(rows, half), (from, to, rows, half));
        Ok((out, (rows, half).into()))
    }
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        "swiglu-backward"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, g: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        f32_alone(self.name(), self.0)?;
        let (rows, width) = lx.shape().dims2()?;
        let (x, g) = (values(self.name(), x, lx)?, values(self.name(), g, lg)?);
        let half = width / 2;
        let mut out = buffers::take(rows * width);
        let task = rows_per_task(width);
        out.par_chunks_mut(task * width).zip(x.par_chunks(task * width)).zip(g.par_chunks(task * half)).for_each(
            |((y, x), g)| {
                for ((y, x), g) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(g.chunks_exact(half)) {
                    let (d_gate, d_up) = y.split_at_mut(half);
                    backward_row(&x[..half], &x[half..], g, d_gate, d_up);
                }
            },
        );
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout, g: &CudaStorage, lg: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{ELEMENTWISE, launch, over_rows, result, values};
        let (rows, width) = lx.shape().dims2()?;
        let half = width / 2;
        let (out, to) = result(&x.device, self.0, rows * width)?;
        let (from, g) = (values(self.name(), x, lx)?, values(self.name(), g, lg)?);
        let kernel = if self.0 == DType::F32 { "swiglu_backward" } else { "swiglu_backward_bf16" };
        launch!(&x.device, ELEMENTWISE, kernel, over_rows(rows, half), (from, g, to, rows, half));
        Ok((out, lx.shape().clone()))
    }
}

/// `[rows, gate | up]` to `[rows, width / 2]`, in f32 or, on GPUs, rounded to bf16.
///
/// # Errors
/// If an operand isn't contiguous f32, `gate_up` isn't a matrix, the device doesn't round to `dtype`, or it fails.
pub fn forward(gate_up: &Tensor, dtype: DType) -> Result<Tensor> {
    gate_up.apply_op1_no_bwd(&Forward(dtype))
}

/// Gradient of `gate_up` from that of the result, in f32 or, on GPUs, rounded to bf16. `grad` is `[rows, width / 2]`, the
/// result `[rows, gate | up]`.
///
/// # Errors
/// If an operand isn't contiguous f32, `gate_up` isn't a matrix, the device doesn't round to `dtype`, or it fails.
pub fn backward(gate_up: &Tensor, grad: &Tensor, dtype: DType) -> Result<Tensor> {
    gate_up.apply_op2_no_bwd(grad, &Backward(dtype))
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random};

    #[test]
    fn agrees_with_plain_ops_and_finite_differences() -> Result<()> {
        let (x, g) = ((random(&[5, 66], 1) * 3.0)?, random(&[5, 33], 2));
        let plain = |x: &Tensor| -> Result<Tensor> { x.narrow(1, 0, 33)?.silu()? * x.narrow(1, 33, 33)? };
        assert_close(&forward(&x, DType::F32)?, &plain(&x)?, 1e-6);
        let var = Var::from_tensor(&x)?;
        let grads = (plain(&var)? * &g)?.sum_all()?.backward()?;
        let fast = backward(&x, &g, DType::F32)?;
        assert_close(&fast, grads.get(&var).unwrap(), 1e-5);
        assert_gradient(&x, &fast, |x| (forward(x, DType::F32)? * &g)?.sum_all());
        Ok(())
    }
}
