//! Sums in place.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};
use rayon::prelude::*;

use super::{
    math,
    operands::{GRAIN, values, values_mut},
};

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, lx: &Layout, y: &CpuStorage, ly: &Layout) -> Result<()> {
        let (x, y) = (values_mut("add", x, lx)?, values("add", y, ly)?);
        x.par_chunks_mut(GRAIN).zip(y.par_chunks(GRAIN)).for_each(|(x, y)| math::add(x, y));
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &mut CudaStorage, lx: &Layout, y: &CudaStorage, ly: &Layout) -> Result<()> {
        use super::cuda::{self, ELEMENTWISE, launch, over};
        let device = y.device.clone();
        let len = lx.shape().elem_count();
        let (x, y) = (cuda::values_mut("add", x, lx)?, cuda::values("add", y, ly)?);
        launch!(&device, ELEMENTWISE, "add", over(len), (x, y, len));
        Ok(())
    }
}

/// `x += y`, both contiguous and of one shape. `[...]`.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn add_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
    x.inplace_op2(y, &Add)
}
