//! What a training tells of itself.

use serde::{Deserialize, Serialize};

/// What was spent and how the loss fell: the content of `training.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSummary {
    /// `lora`, `ptuning2`, `lora+head`, ...
    pub adapter: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Distinct training examples.
    pub examples: u64,
    /// Training examples seen, repetitions included.
    pub examples_seen: u64,
    /// Passes over the examples; need not be whole.
    pub epochs: f64,
    /// Examples per optimiser step.
    pub batch_size: u64,
    /// At its peak.
    pub learning_rate: f64,
    /// Answer and end tokens that the loss was taken over (for a head: labels), repetitions included.
    pub labelled_tokens: u64,
    pub trainable_parameters: u64,
    /// Mean loss (nats per labelled token) of each optimiser step's batch, `[steps]`.
    pub loss: Vec<f32>,
    /// Learning rate of each optimiser step, `[steps]`.
    pub learning_rates: Vec<f64>,
    /// Accuracy on held-out examples, where it was asked for.
    pub dev: Vec<DevPoint>,
    /// The step whose parameters were kept, where the best on the dev split were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<u64>,
}

/// Ranked (for a head: classified) answers on held-out examples after `step` optimiser steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevPoint {
    pub step: u64,
    pub n: u64,
    pub correct: u64,
}
