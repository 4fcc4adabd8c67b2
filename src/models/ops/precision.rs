//! The format that CUDA devices multiply activations in.

use candle_core::DType;

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
