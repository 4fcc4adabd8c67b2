//! A tensor's numbers in an open file, read block by block and converted as they come.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{
    number_format::{BLOCK, Number, Target},
    weight_file::WeightFile,
};
use crate::base::error::{Error, Result};

/// A tensor in a file. Whoever makes one has checked that all of its numbers lie inside.
#[derive(Debug, Clone)]
pub struct Stored {
    pub file: Arc<WeightFile>,
    pub number: Number,
    pub shape: Vec<usize>,
    /// Numbers from one element to the next, by dimension.
    pub strides: Vec<usize>,
    /// Where the first number begins.
    pub at: u64,
}

/// Strides of a tensor whose numbers lie row by row.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}

/// Numbers from the first element to the last, inclusive; none where they are more than can be counted.
pub fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().zip(strides).try_fold(1usize, |sum, (n, stride)| sum.checked_add((n - 1).checked_mul(*stride)?))
}

impl Stored {
    /// The tensor, of `shape` `[...]`, in `dtype` (f32, bf16 or f16).
    ///
    /// # Errors
    /// If the file can't be read, or its numbers can't be had in `dtype`.
    pub fn load(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.shape.as_slice();
        Ok(match dtype {
            DType::F32 => Tensor::from_vec(self.numbers::<f32>()?, shape, device)?,
            DType::BF16 => Tensor::from_vec(self.numbers::<bf16>()?, shape, device)?,
            DType::F16 => Tensor::from_vec(self.numbers::<f16>()?, shape, device)?,
            other => return Err(Error::internal(format!("weights in {}", other.as_str()))),
        })
    }

    fn is_row_major(&self) -> bool {
        let plain = row_major(&self.shape);
        self.shape.iter().zip(&self.strides).zip(plain).all(|((n, stride), plain)| *n == 1 || *stride == plain)
    }

    /// Whether `other` has the same shape and, as f32, the same numbers. Zeros of different sign differ, and a NaN equals itself.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn equals(&self, other: &Self) -> Result<bool> {
        if self.shape != other.shape {
            return Ok(false);
        }
        if !self.is_row_major() || !other.is_row_major() {
            let (a, b) = (self.numbers::<f32>()?, other.numbers::<f32>()?);
            return Ok(same_bits(&a, &b));
        }
        let count: usize = self.shape.iter().product();
        for from in (0..count).step_by(BLOCK) {
            let len = BLOCK.min(count - from);
            if !same_bits(&self.block(from, len)?, &other.block(from, len)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn numbers<T: Target>(&self) -> Result<Vec<T>> {
        let count = self.shape.iter().product();
        let mut out = vec![T::zero(); count];
        if self.is_row_major() {
            out.par_chunks_mut(BLOCK).enumerate().try_for_each(|(i, block)| {
                let values = self.block(i * BLOCK, block.len())?;
                T::encode(&values, block)
            })?;
        } else if count > 0 {
            let extent = extent(&self.shape, &self.strides).ok_or_else(|| Error::internal("strides overflow"))?;
            let all = self.block(0, extent)?;
            let mut values = Vec::with_capacity(count);
            gather(&all, &self.shape, &self.strides, &mut values);
            T::encode(&values, &mut out)?;
        }
        Ok(out)
    }

    /// Numbers `from..from + len` of the file's, counted from the tensor's first.
    fn block(&self, from: usize, len: usize) -> Result<Vec<f32>> {
        let size = self.number.bytes();
        let bytes = self.file.read(self.at + (from * size) as u64, len * size).map_err(Error::environment)?;
        self.number.decode(&bytes)
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
}

/// The elements in row-major order.
fn gather(all: &[f32], shape: &[usize], strides: &[usize], out: &mut Vec<f32>) {
    match (shape, strides) {
        ([n, shape @ ..], [stride, strides @ ..]) => {
            for i in 0..*n {
                gather(&all[i * stride..], shape, strides, out);
            }
        }
        _ => out.push(all[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(bytes: &[u8], number: Number, shape: &[usize], strides: &[usize], at: u64) -> Stored {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let file = WeightFile::open("x.bin", file.path()).unwrap();
        Stored { file, number, shape: shape.to_vec(), strides: strides.to_vec(), at }
    }

    fn values(stored: &Stored, dtype: DType) -> Vec<f32> {
        let tensor = stored.load(dtype, &Device::Cpu).unwrap();
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_format_becomes_every_other() {
        let numbers = [0.0f32, 1.0, -2.5, 3.140_625, 1e-3, 300.0];
        let bytes = |number: Number| -> Vec<u8> {
            numbers
                .iter()
                .flat_map(|x| match number {
                    Number::Bf16 => bf16::from_f32(*x).to_le_bytes().to_vec(),
                    Number::F16 => f16::from_f32(*x).to_le_bytes().to_vec(),
                    _ => x.to_le_bytes().to_vec(),
                })
                .collect()
        };
        for number in [Number::F32, Number::F16, Number::Bf16] {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let got = values(&stored(&bytes(number), number, &[2, 3], &[3, 1], 0), dtype);
                for (got, want) in got.iter().zip(numbers) {
                    assert!((got - want).abs() <= want.abs() / 128.0, "{number:?} {dtype:?}: {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn strided_tensors_and_blocks_are_put_together() {
        let all: Vec<f32> = (0..BLOCK as u32 + 1000).map(|i| (i % 4096) as f32).collect();
        let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
        let n = BLOCK + 900;
        assert_eq!(values(&stored(&bytes, Number::F32, &[n], &[1], 400), DType::F32), all[100..100 + n]);
        let transposed = stored(&bytes, Number::F32, &[3, 2], &[1, 3], 4);
        assert_eq!(values(&transposed, DType::F32), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn tensors_are_compared_by_their_numbers() {
        let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = stored(&bytes, Number::F32, &[2, 2], &[2, 1], 0);
        let halves: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        assert!(rows.equals(&stored(&halves, Number::Bf16, &[2, 2], &[2, 1], 0)).unwrap());
        assert!(!rows.equals(&stored(&bytes, Number::F32, &[2, 2], &[1, 2], 0)).unwrap());
        assert!(!rows.equals(&stored(&bytes, Number::F32, &[4], &[1], 0)).unwrap());
        let (mut other, n) = (vec![0u8; 4 * (BLOCK + 3)], [BLOCK + 3]);
        let zeros = stored(&other, Number::F32, &n, &[1], 0);
        assert!(zeros.equals(&zeros).unwrap());
        other[4 * (BLOCK + 2)] = 1;
        assert!(!zeros.equals(&stored(&other, Number::F32, &n, &[1], 0)).unwrap());
    }

    #[test]
    fn numbers_that_do_not_fit_and_integers_are_refused() {
        let large = stored(&1e6f32.to_le_bytes(), Number::F32, &[1], &[1], 0);
        assert!(large.load(DType::F16, &Device::Cpu).unwrap_err().message.contains("1000000 is too large for f16"));
        assert_eq!(values(&large, DType::BF16), [999_424.0]);
        let whole = stored(&[0; 8], Number::Other("int64", 8), &[1], &[1], 0);
        assert!(whole.load(DType::F32, &Device::Cpu).unwrap_err().message.contains("int64"));
        let beyond = stored(&[0; 8], Number::F32, &[3], &[1], 0);
        assert!(beyond.load(DType::F32, &Device::Cpu).is_err());
    }
}
