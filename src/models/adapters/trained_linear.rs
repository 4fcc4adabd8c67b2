//! A linear layer that is trained itself.

use candle_core::{Result as Candle, Tensor};

use crate::models::{
    autograd::{Backward, Input, record},
    ops::gemm,
};

/// A trained `x W^T + b`; `[rows, inputs]` to `[rows, outputs]`, with a weight `[outputs, inputs]` and a bias `[outputs]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Candle<Tensor> {
    let out = bias.detach().broadcast_as((x.dim(0)?, weight.dim(0)?))?.force_contiguous()?;
    gemm::add(&out, &x.detach(), &weight.detach().t()?, 1.0)?;
    record(&[x, weight, bias], out, TrainedLinear)
}

struct TrainedLinear;

impl Backward for TrainedLinear {
    fn name(&self) -> &'static str {
        "trained-linear"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x, weight, _] = inputs else { candle_core::bail!("three inputs expected") };
        Ok(vec![
            Some(gemm::product(grad, &weight.tensor, 1.0)?),
            Some(gemm::product(&grad.t()?, &x.tensor, 1.0)?),
            Some(grad.sum(0)?),
        ])
    }
}
