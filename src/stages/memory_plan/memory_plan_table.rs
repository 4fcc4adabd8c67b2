//! The keys of a `memory-plan` stage, and what becomes of them in the key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::machine::Device,
    config::{Size, Spanned},
    models::{AdapterSpec, BackboneSpec},
    report::Named,
};

/// Role of the inputs: artifacts of `tokenize`.
pub const TOKENS: &str = "tokens";

/// Writes what training and evaluation hold in memory, in Markdown and CSV, without weights. The model's table has to
/// state its `config`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MemoryPlanStage")]
pub struct MemoryPlanTable {
    /// Heading.
    pub title: String,
    /// Name of a `[model.NAME]` table.
    pub model: String,
    /// Names of `[method.NAME]` tables, in order.
    pub methods: Vec<Spanned<String>>,
    /// The device's memory, such as `"24 GiB"`: says which rows fit.
    pub budget: Size,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    pub device: Device,
}

/// What decides the plan, next to the tokens.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemoryPlanParams {
    pub title: String,
    pub model: Named,
    pub backbone: BackboneSpec,
    pub methods: Vec<PlannedMethod>,
    /// From top to bottom.
    pub tasks: Vec<PlannedTask>,
    /// Bytes.
    pub budget: u64,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    pub device: Device,
}

/// A task whose prompts are measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedTask {
    pub task: Named,
    /// Place of its tokens among the inputs.
    pub input: usize,
}

/// A method, with what of it decides memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedMethod {
    pub method: Named,
    pub adapter: AdapterSpec,
    pub batch_size: usize,
    pub gradient_accumulation_steps: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
}
