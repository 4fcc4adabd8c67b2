//! The keys of a `train` stage, and what becomes of them in the key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::machine::Device,
    models::{AdapterSpec, BackboneSpec},
    train::TrainingSpec,
};

/// See [`crate::engine::StageKind::version`].
pub const VERSION: u32 = 5;

/// Name of the file in the artifact that holds a [`crate::train::TrainingSummary`].
pub const SUMMARY_FILE: &str = "training.json";

/// Trains a method's adapter. Inputs: `tokens`, `model`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrainStage")]
pub struct TrainTable {
    /// Name of a `[model.NAME]` table.
    pub model: String,
    /// Name of a `[method.NAME]` table.
    pub method: String,
    /// Decides the adapter's first values, the order of the data and dropout (default 0).
    #[serde(default)]
    pub seed: i64,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    pub device: Device,
}

/// What decides an adapter's bytes, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrainParams {
    /// The backbone's name in the adapter's files.
    pub base_model: String,
    #[serde(flatten)]
    pub backbone: BackboneSpec,
    pub adapter: AdapterSpec,
    /// Whether a classification head is trained as well. Left out where it isn't, so that older keys stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
    pub training: TrainingSpec,
    pub seed: i64,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    pub device: Device,
}
