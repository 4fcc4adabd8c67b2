//! Dropout whose mask is a function of a key, so that backward and a resumed training draw the same one.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{buffers, math, operands::values};

/// Numbers that one task of the pool masks; a multiple of those that share hashes.
const TASK: usize = 1 << 15;

/// One module's dropout in one forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of a zero.
    pub p: f64,
    pub key: u64,
}

impl Dropout {
    /// A number is dropped where its 16 random bits are below.
    fn threshold(&self) -> u32 {
        (self.p * 65536.0).round() as u32
    }

    fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.p)) as f32
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values("dropout", x, lx)?;
        let (threshold, scale) = (self.threshold(), self.scale());
        let mut out = buffers::take(x.len());
        out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).enumerate().for_each(|(task, (y, x))| {
            drop_out(x, y, self.key.wrapping_add((task * TASK / SHARED) as u64), threshold, scale);
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, lx: &Layout) -> Result<(CudaStorage, Shape)> {
        use super::cuda::{ELEMENTWISE, Pointer, alloc, launch, over, storage, values};
        let len = lx.shape().elem_count();
        let out = alloc(&x.device, len)?;
        let (from, to) = (values("dropout", x, lx)?, Pointer::of(&out));
        launch!(
            &x.device,
            ELEMENTWISE,
            "dropout",
            over(len),
            (from, to, len, self.key, self.threshold(), self.scale())
        );
        Ok((storage::<f32>(out, &x.device), lx.shape().clone()))
    }
}

/// Numbers that share a hash: 16 bits each.
const SHARED: usize = 4;

/// Hashes that are drawn together.
const HASHES: usize = 16;

math::vectorised! {
    /// `x` and `y` are `[numbers]`; `key` is that of the first.
    pub fn drop_out(x: &[f32], y: &mut [f32], key: u64, threshold: u32, scale: f32) {
        for (i, (y, x)) in y.chunks_mut(SHARED * HASHES).zip(x.chunks(SHARED * HASHES)).enumerate() {
            let mut hashes = [0u64; HASHES];
            for (j, hash) in hashes.iter_mut().enumerate() {
                *hash = mix(key.wrapping_add((i * HASHES + j) as u64));
            }
            let mut bits = [0u32; SHARED * HASHES];
            for (bits, hash) in bits.chunks_exact_mut(SHARED).zip(hashes) {
                for (lane, bits) in bits.iter_mut().enumerate() {
                    *bits = (hash >> (16 * lane)) as u32 & 0xffff;
                }
            }
            for ((y, x), bits) in y.iter_mut().zip(x).zip(bits) {
                *y = if bits >= threshold { x * scale } else { 0.0 };
            }
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea & Flood 2014): a counter goes in, 64 random bits come out.
#[inline(always)]
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `x` with a share `p` of its numbers set to zero and the others divided by `1 - p`. The same call on a gradient is its
/// backward. Any shape `[...]`.
///
/// # Errors
/// If an operand isn't contiguous f32, or the device fails.
pub fn apply(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    x.apply_op1_no_bwd(&dropout)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::models::test_models::with_threads;

    #[test]
    fn drops_the_asked_share_whatever_the_threads() -> Result<()> {
        let x = Tensor::ones((300, 401), DType::F32, &Device::Cpu)?;
        let mask = |key, threads| {
            with_threads(threads, || apply(&x, Dropout { p: 0.1, key })?.flatten_all()?.to_vec1::<f32>())
        };
        let first = mask(7, 1)?;
        let zeros = first.iter().filter(|v| **v == 0.0).count() as f64 / first.len() as f64;
        assert!((zeros - 0.1).abs() < 0.005, "{zeros}");
        assert!(first.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.9).abs() < 1e-6));
        assert_eq!(first, mask(7, 3)?);
        assert_ne!(first, mask(8, 1)?);
        Ok(())
    }
}
