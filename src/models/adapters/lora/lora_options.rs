//! The options of LoRA.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::models::adapters::layer_names::matches_target;

/// Low-rank updates of linear layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Width of the low-rank update (default 8).
    pub rank: usize,
    /// The update is scaled by `alpha / rank` (default 32).
    pub alpha: f64,
    /// Probability that an input of the update is dropped in training (default 0.1).
    pub dropout: f64,
    /// Names of the linear layers that are updated, or ends of their paths: `q_proj`, `self_attn.v_proj` (default: queries
    /// and values, as the model's family calls them).
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "not_empty")]
    pub target_modules: Vec<String>,
    /// Scale by `alpha / sqrt(rank)` (rank-stabilised LoRA, Kalajdzievski 2023; default false).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_rslora: bool,
    /// Train the length of each row of the updated weights apart from its direction (DoRA, Liu et al. 2024; default false).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_dora: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 32.0, dropout: 0.1, target_modules: Vec::new(), use_rslora: false, use_dora: false }
    }
}

/// A list that is there has names: an empty one would mean the usual layers.
fn not_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::deserialize(deserializer)?;
    if names.is_empty() {
        return Err(serde::de::Error::custom("names no layer; leave it out for the usual ones"));
    }
    Ok(names)
}

impl LoraOptions {
    pub(super) fn chooses(&self, path: &str) -> bool {
        self.target_modules.iter().any(|t| matches_target(path, t))
    }

    /// What a change of this rank is multiplied by.
    pub(super) fn scale(&self, alpha: f64, rank: usize) -> f64 {
        alpha / self.divisor(rank)
    }

    /// By what `alpha` is divided.
    pub(super) fn divisor(&self, rank: usize) -> f64 {
        if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 }
    }
}
