//! Weights that were never trained: the shapes are real, so times and memory are, and the answers are not.

use candle_core::{DType, Device, Tensor};

use crate::models::ops::uniform;

/// Bound of the uniform distribution whose standard deviation is the 0.02 that transformers start from.
const BOUND: f32 = 0.034_641;

/// A matrix of small random numbers that its name decides; of vectors, a norm's weight is 1 and a bias 0. `[shape...]`.
///
/// # Errors
/// As [`uniform::matrix`].
pub fn tensor(name: &str, shape: &[usize], dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    if let [len] = *shape {
        let value = if name.ends_with(".bias") { 0.0 } else { 1.0 };
        return Tensor::full(value, len, device)?.to_dtype(dtype);
    }
    uniform::matrix(name, shape, BOUND, dtype, device)
}
