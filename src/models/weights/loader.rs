//! Reads a backbone's tensors in the formats that it computes with.

use candle_core::{DType, Device, Tensor};

use super::{model_config::Config, open::Weights};
use crate::{base::error::Result, models::backbone_spec::Dtype};

/// Hands a family the tensors that it asks for.
pub struct Loader<'a> {
    weights: &'a Weights,
    dtype: Dtype,
    device: &'a Device,
}

impl<'a> Loader<'a> {
    /// Tensors of `weights`, on `device`, matrices in `dtype`.
    pub fn new(weights: &'a Weights, dtype: Dtype, device: &'a Device) -> Self {
        Self { weights, dtype, device }
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        self.weights.config()
    }

    /// Where the tensors come to lie.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Whether the files have a tensor.
    ///
    /// # Errors
    /// If an index names a file for it that doesn't have it.
    pub fn has(&self, name: &str) -> Result<bool> {
        self.weights.has(name)
    }

    /// The matrix `name`, read before, stands for a second one that the configuration ties to it.
    ///
    /// # Errors
    /// If the files have a second one nevertheless, with other numbers.
    pub fn tied(&self, second: &str, name: &str) -> Result<()> {
        self.weights.check_equal(second, name)
    }

    /// A frozen matrix, in the backbone's number format. `[rows, columns]`.
    ///
    /// # Errors
    /// If it is missing, has another shape, or can't be read.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[rows, columns], self.dtype.into(), self.device)
    }

    /// A small frozen matrix, in f32 whatever the backbone's number format. `[rows, columns]`.
    ///
    /// # Errors
    /// If it is missing, has another shape, or can't be read.
    pub fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[rows, columns], DType::F32, self.device)
    }

    /// A norm's weight or a bias, in f32. `[len]`.
    ///
    /// # Errors
    /// If it is missing, has another shape, or can't be read.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[len], DType::F32, self.device)
    }
}
