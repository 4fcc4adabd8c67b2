//! Weight files as their publishers write them, under the tensor names of the reference implementation.

pub mod config;
mod gguf;
mod pickle;
mod random;
mod safetensors;
mod shards;
mod stored;
mod torch;

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};

use self::{config::Config, shards::Shards};
use super::{ConfigTable, Dtype};
use crate::error::{At, Error, Result};

/// An open set of weight files and the model's configuration.
pub struct Weights {
    config: Config,
    format: Format,
}

enum Format {
    Shards(Shards),
    Gguf(gguf::File),
    /// No files: whatever is asked for is drawn.
    Random {
        qkv_bias: bool,
    },
}

impl Weights {
    /// Random weights in the shapes of `config`.
    pub fn random(config: Config, qkv_bias: bool) -> Self {
        Self { config, format: Format::Random { qkv_bias } }
    }

    /// Opens `files` (name inside the artifact, and path): one `.gguf`; or `.safetensors` or PyTorch's `.bin`, each with
    /// `config.json`. `table` is what a pipeline file states of the configuration, and may stand in for `config.json`.
    pub fn open(files: &BTreeMap<String, PathBuf>, table: &ConfigTable) -> Result<Self> {
        let ggufs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".gguf")).collect();
        match ggufs.as_slice() {
            [(name, path)] => {
                let file = gguf::File::open(name, path)?;
                Ok(Self { config: file.config()?.with_table(table)?, format: Format::Gguf(file) })
            }
            [] => {
                let config = match shards::config(files)? {
                    Some(config) => config.with_table(table)?,
                    None if !table.is_empty() => Config::of_table(table),
                    None => {
                        let have = files.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                        return Err(Error::input(format!("no config.json among the model's files: {have}"))
                            .help("add it to the model's `source`, or state its keys in the model's `config` table"));
                    }
                };
                Ok(Self { config, format: Format::Shards(Shards::open(files)?) })
            }
            many => Err(Error::input(format!("{} GGUF files where one is needed", many.len()))
                .help("name a single file in the model's `source`")),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(match &self.format {
            Format::Shards(shards) => shards.find(name)?.map(|t| t.shape.clone()),
            Format::Gguf(file) => file.shape(name),
            Format::Random { .. } => None,
        })
    }

    fn has(&self, name: &str) -> Result<bool> {
        match self.format {
            // Biases of queries, keys and values are the only tensors of which a family leaves open whether they are there.
            Format::Random { qkv_bias } => {
                Ok(qkv_bias && ["q_proj.bias", "k_proj.bias", "v_proj.bias"].iter().any(|end| name.ends_with(end)))
            }
            _ => Ok(self.shape(name)?.is_some()),
        }
    }

    /// The file with the tensor `name`, or where it would have to be, for messages.
    fn place(&self, name: &str) -> Result<String> {
        Ok(match &self.format {
            Format::Shards(shards) => shards.find(name)?.map_or_else(|| shards.place(), |t| t.file.name.clone()),
            Format::Gguf(file) => file.name().to_owned(),
            Format::Random { .. } => "random weights".to_owned(),
        })
    }

    /// The tensor `name`, converted to `dtype` as it is read. Its shape must be `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let found = match self.format {
            Format::Random { .. } => Some(shape.to_vec()),
            _ => self.shape(name)?,
        };
        match found {
            None => Err(Error::input(format!("{}: there is no tensor `{name}`", self.place(name)?))
                .help("the files are incomplete, or belong to a model of another family")),
            Some(found) if found != shape => Err(Error::input(format!(
                "{}: tensor `{name}` has shape {found:?}, and the model's configuration asks for {shape:?}",
                self.place(name)?
            ))
            .help("configuration and weights belong to different models")),
            Some(_) => match &self.format {
                Format::Shards(shards) => match shards.find(name)? {
                    Some(stored) => stored.load(dtype, device).at(format!("tensor `{name}`")).at(&stored.file.name),
                    None => Err(Error::internal(format!("tensor `{name}` is gone"))),
                },
                Format::Gguf(file) => file.load(name, dtype, device),
                Format::Random { .. } => Ok(random::tensor(name, shape, dtype, device)?),
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

    pub fn has(&self, name: &str) -> Result<bool> {
        self.weights.has(name)
    }

    /// A frozen matrix, in the backbone's number format.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[rows, columns], self.dtype.into(), self.device)
    }

    /// A small frozen matrix, in f32 whatever the backbone's number format.
    pub fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[rows, columns], DType::F32, self.device)
    }

    /// A norm's weight or a bias, in f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        self.weights.tensor(name, &[len], DType::F32, self.device)
    }
}
