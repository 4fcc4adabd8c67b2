//! How files keep numbers, and the formats that weights are computed in.

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use crate::base::error::{Error, Result};

/// Numbers that are read and converted at once.
pub const BLOCK: usize = 1 << 18;

/// How a file keeps its numbers; all of them little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    F32,
    F16,
    Bf16,
    /// Nothing that weights can be read from: its name and its size in bytes.
    Other(&'static str, usize),
}

impl Number {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }

    /// The numbers in `bytes`, exactly.
    ///
    /// # Errors
    /// If no weights can be read from this format.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<f32>> {
        match self {
            Self::F32 => Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Self::Bf16 => Ok(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
            Self::F16 => {
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
                Ok(halves.to_f32_vec())
            }
            Self::Other(name, _) => Err(Error::input(format!("its numbers are of type {name}"))
                .help("weights in float32, float16 and bfloat16 can be read; quantised files can't")),
        }
    }
}

/// A tensor of `numbers` in `dtype` (f32, bf16 or f16) and of `shape` `[...]`, row by row.
///
/// # Errors
/// If a number is too large for `dtype`.
pub fn from_numbers(numbers: Vec<f32>, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    fn encoded<T: Target>(numbers: &[f32], shape: &[usize], device: &Device) -> Result<Tensor> {
        let mut to = vec![T::zero(); numbers.len()];
        to.par_chunks_mut(BLOCK).zip(numbers.par_chunks(BLOCK)).try_for_each(|(to, from)| T::encode(from, to))?;
        Ok(Tensor::from_vec(to, shape, device)?)
    }
    match dtype {
        DType::F32 => Ok(Tensor::from_vec(numbers, shape, device)?),
        DType::BF16 => encoded::<bf16>(&numbers, shape, device),
        DType::F16 => encoded::<f16>(&numbers, shape, device),
        other => Err(Error::internal(format!("weights in {}", other.as_str()))),
    }
}

/// A format that weights are computed in.
pub trait Target: WithDType {
    /// Writes `from`, `[numbers]`, rounded to nearest, into `to`, which is as long.
    ///
    /// # Errors
    /// If a number is finite there and not here.
    fn encode(from: &[f32], to: &mut [Self]) -> Result<()>;
}

impl Target for f32 {
    fn encode(from: &[f32], to: &mut [Self]) -> Result<()> {
        to.copy_from_slice(from);
        Ok(())
    }
}

impl Target for bf16 {
    fn encode(from: &[f32], to: &mut [Self]) -> Result<()> {
        to.convert_from_f32_slice(from);
        fits(from, to, |x| x.is_finite())
    }
}

impl Target for f16 {
    fn encode(from: &[f32], to: &mut [Self]) -> Result<()> {
        to.convert_from_f32_slice(from);
        fits(from, to, |x| x.is_finite())
    }
}

fn fits<T: WithDType>(from: &[f32], to: &[T], finite: impl Fn(&T) -> bool) -> Result<()> {
    match from.iter().zip(to).find(|(from, to)| from.is_finite() && !finite(to)) {
        None => Ok(()),
        Some((from, _)) => Err(Error::input(format!("{from} is too large for {}", T::DTYPE.as_str()))
            .help("choose `dtype = \"bf16\"` or `\"f32\"` for this model")),
    }
}
