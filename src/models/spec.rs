//! The `model` table of a pipeline file.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A backbone: what computes it and where its files come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The program's name for the computation: `llama` (also Qwen2, SmolLM2 and others of that build).
    pub family: String,
    /// Name for readers.
    #[serde(default)]
    pub title: Option<String>,
    /// Licence of the weights, as an SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// File name, and where it comes from.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub source: IndexMap<String, serde_json::Value>,
    /// What the weights are computed in.
    #[serde(default)]
    pub dtype: Dtype,
    /// Jinja template of a conversation, where the files bring none or it is to be replaced.
    #[serde(default)]
    pub chat_template: Option<String>,
}

/// A number format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
}
