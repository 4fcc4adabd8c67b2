//! Matrices of uniform random numbers, the same bits on every device.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;

use super::operands::values_mut;
use crate::models::seeded::uniform;

/// Numbers that one key stands for.
const TASK: usize = 1 << 18;

struct Draw<'a> {
    name: &'a str,
    bound: f32,
}

impl InplaceOp1 for Draw<'_> {
    fn name(&self) -> &'static str {
        "draw"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, layout: &Layout) -> Result<()> {
        values_mut("draw", to, layout)?.par_chunks_mut(TASK).enumerate().for_each(|(task, to)| {
            to.copy_from_slice(&uniform(task as u64, self.name, to.len(), self.bound));
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, to: &mut CudaStorage, layout: &Layout) -> Result<()> {
        use super::cuda::{self, Pointer, RANDOM, launch, over};
        let device = to.device.clone();
        let len = layout.shape().elem_count();
        let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let key = |task| crate::models::seeded::key(task, 0, self.name);
        let keys: Vec<u32> = (0..len.div_ceil(TASK) as u64)
            .flat_map(|task| key(task).chunks(size_of::<u32>()).map(word).collect::<Vec<_>>())
            .collect();
        let keys = cuda::upload(&device, &keys)?;
        let kernel = match candle_core::backend::BackendStorage::dtype(to) {
            DType::BF16 => "uniform_bf16",
            DType::F32 => "uniform",
            other => candle_core::bail!("no kernel draws {}", other.as_str()),
        };
        let blocks = over(len.div_ceil(16));
        launch!(&device, RANDOM, kernel, blocks, (Pointer::of(&keys), cuda::start(to)?, len, TASK, self.bound));
        Ok(())
    }
}

/// Numbers between `-bound` and `bound` that `name` decides, rounded to `dtype`. `[shape...]`.
///
/// # Errors
/// If the device doesn't draw in `dtype`, or has no memory for them.
pub fn matrix(name: &str, shape: &[usize], bound: f32, dtype: DType, device: &Device) -> Result<Tensor> {
    // CPUs draw in f32; a device, whose memory is dearer, in the format to be kept.
    let drawn = if device.is_cpu() { DType::F32 } else { dtype };
    // SAFETY: all of it is overwritten before it is read.
    let matrix = unsafe { Tensor::empty(shape, drawn, device) }?;
    matrix.inplace_op1(&Draw { name, bound })?;
    matrix.to_dtype(dtype)
}
