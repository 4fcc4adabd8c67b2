//! How often a training writes checkpoints.

use std::time::{Duration, Instant};

use super::training_spec::RuntimeOptions;

/// When the last checkpoint was written.
pub struct CheckpointCadence {
    at: Instant,
    step: u64,
}

impl CheckpointCadence {
    /// From now on, after `step` optimiser steps.
    pub fn since(step: u64) -> Self {
        Self { at: Instant::now(), step }
    }

    /// Whether one should be written after `step` optimiser steps.
    pub fn is_due(&self, step: u64, runtime: &RuntimeOptions) -> bool {
        match runtime.checkpoint_every_steps {
            Some(steps) => step - self.step >= steps,
            None => self.at.elapsed() >= Duration::from_secs(runtime.checkpoint_every_seconds),
        }
    }
}
