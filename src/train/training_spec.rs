//! How an adapter is trained.

use serde::{Deserialize, Serialize};

use super::learning_rate::Schedule;

/// How an adapter is trained: everything here can change its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Parts in which a batch is computed one after the other: less memory, the same gradient up to rounding. On CPUs a part
    /// may be several rows, which need less memory still.
    pub gradient_accumulation_steps: usize,
    pub length: TrainingLength,
    /// At its peak.
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    /// The gradient's norm over all parameters is scaled down to this.
    pub max_grad_norm: f64,
    pub schedule: Schedule,
    /// Below 1 a share of all steps, from 1 on a number of steps.
    pub warmup: f64,
    /// Steps between measurements on the dev split; None: none.
    pub dev_every_steps: Option<u64>,
    /// Examples of the dev split that are measured: its first ones.
    pub dev_examples: usize,
    /// End with the parameters of the best measurement on the dev split (of equal ones the first), not with the last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_best: bool,
    /// Stop after so many measurements in a row that weren't better than the best before them; None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
}

/// How long a training goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingLength {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the training examples; need not be whole.
    Epochs(f64),
}

impl TrainingLength {
    /// Optimiser steps, at least one.
    pub fn steps(self, per_epoch: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => ((epochs * per_epoch as f64).ceil() as u64).max(1),
        }
    }
}

/// What protects a training and can't change the adapter's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeOptions {
    /// Optimiser steps between checkpoints; None: by time.
    pub checkpoint_every_steps: Option<u64>,
    /// Seconds between checkpoints.
    pub checkpoint_every_seconds: u64,
    /// Nats by which a batch's loss may exceed the median of the last 16 before the training stops.
    pub max_loss_rise: f64,
    /// Keep each layer's input alone for backward, and compute the rest again: less memory, more time.
    #[serde(default)]
    pub gradient_checkpointing: bool,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        Self {
            batch_size: 16,
            gradient_accumulation_steps: 1,
            length: TrainingLength::Epochs(1.0),
            learning_rate: 1e-3,
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            max_grad_norm: 1.0,
            schedule: Schedule::Linear,
            warmup: 0.1,
            dev_every_steps: None,
            dev_examples: 100,
            keep_best: false,
            patience: None,
        }
    }
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            checkpoint_every_steps: None,
            checkpoint_every_seconds: 20,
            max_loss_rise: 10.0,
            gradient_checkpointing: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_in_steps() {
        assert_eq!(TrainingLength::Epochs(1.5).steps(5), 8);
        assert_eq!(TrainingLength::Epochs(0.001).steps(5), 1);
        assert_eq!(TrainingLength::Steps(3).steps(5), 3);
    }
}
