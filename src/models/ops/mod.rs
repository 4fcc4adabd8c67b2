//! Kernels: functions of tensors that compute forwards or backwards and leave no trace in the autograd graph.
//!
//! Every reduction has an order that doesn't depend on the number of threads, so results are the same bits on one core
//! and on many. [`super::autograd`] joins them into differentiable blocks.

pub mod adamw_step;
pub mod attention;
pub mod buffers;
#[cfg(feature = "cuda")]
mod cuda;
pub mod dropout;
pub mod gelu;
pub mod gemm;
pub mod layer_norm;
mod math;
pub mod nll;
pub mod rms_norm;
pub mod rotary;
pub mod swiglu;
pub mod uniform;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor};
use rayon::prelude::*;

/// What a CUDA device computes products of activations from. CPUs always compute them from f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    /// Numbers rounded to bf16, with sums in f32.
    Bf16,
}

impl Precision {
    /// That of activations beside frozen matrices in `dtype`.
    pub fn beside(dtype: DType) -> Self {
        if dtype == DType::BF16 { Self::Bf16 } else { Self::F32 }
    }
}

/// Rows are handed to threads in groups of about this many numbers.
const GRAIN: usize = 16 * 1024;

fn rows_per_task(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// The numbers of a contiguous f32 operand.
fn values<'a>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&all[from..to]),
        None => candle_core::bail!("{op} needs a contiguous operand, not strides {:?}", layout.stride()),
    }
}

/// CPUs round nothing.
fn f32_alone(op: &'static str, dtype: DType) -> Result<()> {
    if dtype == DType::F32 { Ok(()) } else { candle_core::bail!("{op} on CPUs is f32, not {}", dtype.as_str()) }
}

fn values_mut<'a>(op: &'static str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("{op} needs a contiguous destination, not strides {:?}", layout.stride())
    };
    match storage {
        CpuStorage::F32(all) => Ok(&mut all[from..to]),
        other => {
            candle_core::bail!("{op} computes in f32, not {:?}", candle_core::backend::BackendStorage::dtype(other))
        }
    }
}

/// A pointer that several threads write through, each to places of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: a bare address; whoever dereferences it keeps the writes of different threads apart.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// `start` must lie in the buffer.
    unsafe fn at(self, start: usize) -> *mut f32 {
        // SAFETY: passed on to the caller.
        unsafe { self.0.add(start) }
    }

    /// # Safety
    /// `start..start + len` must lie in the buffer, and nobody else may touch it meanwhile.
    unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at(start), len) }
    }
}

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
        use cuda::{ELEMENTWISE, launch, over};
        let device = y.device.clone();
        let len = lx.shape().elem_count();
        let (x, y) = (cuda::values_mut("add", x, lx)?, cuda::values("add", y, ly)?);
        launch!(&device, ELEMENTWISE, "add", over(len), (x, y, len));
        Ok(())
    }
}

/// `x += y`, both contiguous and of one shape.
pub fn add_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
    x.inplace_op2(y, &Add)
}
