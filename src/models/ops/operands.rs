//! What the kernels on CPUs share: their operands as slices, and how rows go to threads.

use candle_core::{CpuStorage, DType, Layout, Result};

/// Rows are handed to threads in groups of about this many numbers.
pub const GRAIN: usize = 16 * 1024;

/// Rows of `width` numbers that one task works off.
pub fn rows_per_task(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// The numbers of a contiguous f32 operand, of any shape `[...]`.
///
/// # Errors
/// If it isn't contiguous f32.
pub fn values<'a>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&all[from..to]),
        None => candle_core::bail!("{op} needs a contiguous operand, not strides {:?}", layout.stride()),
    }
}

/// CPUs round nothing.
///
/// # Errors
/// If `dtype` is another.
pub fn f32_alone(op: &'static str, dtype: DType) -> Result<()> {
    if dtype == DType::F32 { Ok(()) } else { candle_core::bail!("{op} on CPUs is f32, not {}", dtype.as_str()) }
}

/// As [`values`], to be overwritten.
///
/// # Errors
/// As [`values`].
pub fn values_mut<'a>(op: &'static str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
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
pub struct Shared(pub *mut f32);

// SAFETY: a bare address; whoever dereferences it keeps the writes of different threads apart.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// `start` must lie in the buffer.
    pub unsafe fn at(self, start: usize) -> *mut f32 {
        // SAFETY: passed on to the caller.
        unsafe { self.0.add(start) }
    }

    /// # Safety
    /// `start..start + len` must lie in the buffer, and nobody else may touch it meanwhile.
    pub unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at(start), len) }
    }
}
