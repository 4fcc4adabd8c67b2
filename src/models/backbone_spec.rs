//! What decides a backbone's numbers, next to its files.

use std::collections::BTreeMap;

use candle_core::DType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::weights::model_config::ConfigTable;
use crate::base::machine::Device;

/// What decides a backbone's numbers, next to its files: a part of the parameters of whoever computes with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneSpec {
    pub family: String,
    pub dtype: Dtype,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: ConfigTable,
}

/// The number format of the frozen matrices: embedding, linear layers and output layer. Norms, biases, activations and
/// adapters are always in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    Bf16,
    F16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// As in pipeline files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::BF16,
            Dtype::F16 => Self::F16,
        }
    }
}

/// The class of numbers that a computation gives: results of one class have the same bytes. `cpu-f32`, `cpu-bf16`, ...
pub fn numerics(device: Device, dtype: Dtype) -> String {
    format!("{}-{}", device.name(), dtype.name())
}
