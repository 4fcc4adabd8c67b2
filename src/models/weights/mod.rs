//! Weight files as their publishers write them, under the tensor names of the reference implementation.

pub mod config;
mod gguf;
mod safetensors;

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};

use super::{ConfigTable, Dtype};
use crate::error::{Error, Result};
use config::Config;

/// An open set of weight files and the model's configuration.
pub struct Weights {
    config: Config,
    format: Format,
}

enum Format {
    Safetensors(safetensors::Files),
    Gguf(gguf::File),
}

impl Weights {
    /// Opens `files` (name inside the artifact, and path): one `.gguf`, or `config.json` with `.safetensors`.
    /// `table` is what a pipeline file states of the configuration.
    pub fn open(files: &BTreeMap<String, PathBuf>, table: &ConfigTable) -> Result<Self> {
        let ggufs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".gguf")).collect();
        match ggufs.as_slice() {
            [(name, path)] => {
                let file = gguf::File::open(name, path)?;
                Ok(Self { config: file.config()?.with_table(table)?, format: Format::Gguf(file) })
            }
            [] => {
                let (config, files) = safetensors::open(files)?;
                Ok(Self { config: config.with_table(table)?, format: Format::Safetensors(files) })
            }
            many => Err(Error::input(format!("{} GGUF files where one is needed", many.len()))
                .help("name a single file in the model's `source`")),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn has(&self, name: &str) -> bool {
        match &self.format {
            Format::Safetensors(files) => files.shape(name).is_some(),
            Format::Gguf(file) => file.shape(name).is_some(),
        }
    }

    /// The tensor `name` in f32. Its shape must be `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let found = match &self.format {
            Format::Safetensors(files) => files.shape(name),
            Format::Gguf(file) => file.shape(name),
        };
        match found {
            None => Err(Error::input(format!("the weights have no tensor `{name}`"))
                .help("the files are incomplete, or belong to a model of another family")),
            Some(found) if found != shape => Err(Error::input(format!(
                "tensor `{name}` has shape {found:?}, and the model's configuration asks for {shape:?}"
            ))
            .help("configuration and weights belong to different models")),
            Some(_) => match &self.format {
                Format::Safetensors(files) => files.load(name, device),
                Format::Gguf(file) => file.load(name, device),
            },
        }
    }
}

/// Reads a backbone's tensors in the formats that it computes with.
pub struct Loader<'a> {
    weights: &'a Weights,
    dtype: Dtype,
    device: &'a Device,
}

impl<'a> Loader<'a> {
    pub fn new(weights: &'a Weights, dtype: Dtype, device: &'a Device) -> Self {
        Self { weights, dtype, device }
    }

    pub fn config(&self) -> &Config {
        self.weights.config()
    }

    pub fn device(&self) -> &Device {
        self.device
    }

    pub fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    /// A frozen matrix, in the backbone's number format.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(self.weights.tensor(name, &[rows, columns], self.device)?.to_dtype(self.dtype.into())?)
    }

    /// A norm's weight or a bias, in f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        Ok(self.weights.tensor(name, &[len], self.device)?.to_dtype(DType::F32)?)
    }
}
