//! What one evaluation found, and everything a reader needs to know to judge it: the content of `metrics.json`.

use serde::{Deserialize, Serialize};

use super::{bootstrap::Intervals, metrics::Metrics};

/// One method on one task with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    pub task: TaskContext,
    pub method: MethodContext,
    pub model: ModelContext,
    /// None where nothing was drawn at random (an unadapted model that is ranked or decoded greedily).
    pub seed: Option<i64>,
    /// `cpu-f32`, `cuda-bf16`, ...
    pub numerics: String,
    /// `rank`, `generate` or `head`: how an answer becomes a label.
    pub answer: String,
    /// The split that was evaluated, `test` in tables.
    pub split: String,
    /// Examples evaluated; equals `metrics.n`.
    pub n: usize,
    /// Examples whose sentence was cut to fit the model's context.
    pub truncated: usize,
    /// None for an unadapted model.
    pub training: Option<TrainingContext>,
    pub metrics: Metrics,
    pub intervals: Intervals,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskContext {
    /// Name of the `[task.NAME]` definition.
    pub name: String,
    pub title: String,
    pub dataset: String,
    /// The dataset card's labelling scheme.
    pub scheme: String,
    /// What the labels measure: `sentiment`, `emotion`, ...
    pub construct: String,
    pub language: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodContext {
    /// Name of the `[method.NAME]` definition.
    pub name: String,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelContext {
    /// Name of the `[model.NAME]` definition.
    pub name: String,
    pub title: String,
    pub license: String,
}

/// What was spent on the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingContext {
    /// `lora`, `ptuning2`, `full`, ...
    pub adapter: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Distinct training examples.
    pub examples: u64,
    /// Passes over them; need not be whole.
    pub epochs: f64,
    pub batch_size: u64,
    /// At its peak, where it is scheduled.
    pub learning_rate: f64,
    pub trainable_parameters: u64,
    /// Mean loss of each optimiser step's batch, `[steps]`.
    pub loss: Vec<f32>,
}
