//! The keys of an `evaluate` stage, and what becomes of them in the key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::machine::Device,
    estimate::Answering,
    eval::{MethodContext, ModelContext, TaskContext, bootstrap::Bootstrap},
    models::{BackboneSpec, adapters::Stated},
};

/// One row an example of the split: `id`, `label_id` and `predicted_id` (u32, missing where an answer names no label). Next
/// to them `scores` (list of f32: log-probabilities over the labels) where labels are scored, and `answer` (text) where it
/// is written.
pub const PREDICTIONS_FILE: &str = "predictions.parquet";

/// An `Evaluation`.
pub const METRICS_FILE: &str = "metrics.json";

/// Predicts and scores a split. Inputs: `tokens`, `model`, and `adapter` for a trained method.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EvaluateStage")]
pub struct EvaluateTable {
    /// Name of a `[model.NAME]` table.
    pub model: String,
    /// Name of a `[task.NAME]` table.
    pub task: String,
    /// Name of a `[method.NAME]` table; left out, the model is evaluated as it is.
    pub method: Option<String>,
    /// Seed of the training that made the adapter; left out where nothing was trained.
    pub seed: Option<i64>,
    /// Which examples: `train`, `dev` or `test` (default `test`).
    #[serde(default = "test")]
    pub split: String,
    /// How an answer becomes a label (default `rank`).
    #[serde(default)]
    pub answer: AnswerMode,
    /// With `answer = "generate"`: most tokens of an answer (default: 16 more than the longest label has).
    pub max_new_tokens: Option<usize>,
    /// How confidence intervals are made.
    #[serde(default)]
    pub bootstrap: BootstrapTable,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    pub device: Device,
}

fn test() -> String {
    "test".to_owned()
}

// One line here, and one in `predictions.rs`.
/// How an answer becomes a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerMode {
    /// The label whose words the model is most likely to answer.
    #[default]
    Rank,
    /// The label that the model's own text names; a text that names none, or several, is wrong.
    Generate,
    /// The label of a classification head that was trained with the method (`head = true`).
    Head,
}

/// A bootstrap over the examples.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BootstrapTable {
    /// Resamples (default 1000).
    pub samples: u32,
    /// Share of resamples inside an interval (default 0.95).
    pub level: f64,
    /// Decides the resamples (default 0).
    pub seed: u64,
}

impl Default for BootstrapTable {
    fn default() -> Self {
        let Bootstrap { samples, level, seed } = Bootstrap::default();
        Self { samples, level, seed }
    }
}

/// What decides the results' bytes, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
pub struct EvaluateParams {
    #[serde(flatten)]
    pub backbone: BackboneSpec,
    pub model: ModelContext,
    pub task: TaskContext,
    pub method: MethodContext,
    /// The adapter that there has to be, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Stated>,
    pub seed: Option<i64>,
    pub split: String,
    pub answer: AnswerMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    pub bootstrap: Bootstrap,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    pub device: Device,
}

impl AnswerMode {
    /// As pipeline files write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Generate => "generate",
            Self::Head => "head",
        }
    }

    /// What the model computes for it.
    pub fn answering(self) -> Answering {
        match self {
            Self::Rank | Self::Head => Answering::Scored,
            Self::Generate => Answering::Written,
        }
    }
}
