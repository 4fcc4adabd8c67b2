//! The numbers of a frozen matrix, in the format that it is kept in.

use candle_core::{CpuStorage, Result};
use half::{bf16, f16, slice::HalfFloatSliceExt};

/// A frozen matrix in the format that it is kept in.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Numbers<'a> {
    /// The numbers of a storage in f32, bf16 or f16.
    ///
    /// # Errors
    /// If they have another format.
    pub fn of(storage: &'a CpuStorage) -> Result<Self> {
        match storage {
            CpuStorage::F32(all) => Ok(Self::F32(all)),
            CpuStorage::BF16(all) => Ok(Self::Bf16(all)),
            CpuStorage::F16(all) => Ok(Self::F16(all)),
            other => candle_core::bail!(
                "no products with a matrix of {}",
                candle_core::backend::BackendStorage::dtype(other).as_str()
            ),
        }
    }

    /// How many.
    pub fn len(self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::Bf16(all) => all.len(),
            Self::F16(all) => all.len(),
        }
    }

    /// Those from `from` to before `to`.
    pub fn slice(self, from: usize, to: usize) -> Self {
        match self {
            Self::F32(all) => Self::F32(&all[from..to]),
            Self::Bf16(all) => Self::Bf16(&all[from..to]),
            Self::F16(all) => Self::F16(&all[from..to]),
        }
    }

    /// Writes the numbers, `[numbers]`, as f32 into `to`, which is as long.
    pub fn convert(self, to: &mut [f32]) {
        match self {
            Self::F32(all) => to.copy_from_slice(all),
            Self::Bf16(all) => to.iter_mut().zip(all).for_each(|(y, x)| *y = x.to_f32()),
            Self::F16(all) => all.convert_to_f32_slice(to),
        }
    }
}
