//! Accuracy on held-out samples during a training.

use super::{trainer_state::TrainerState, training::Training, training_summary::DevPoint};
use crate::{
    base::error::Result,
    eval::{classify, rank},
};

impl Training<'_> {
    /// Whether `step` of `total` ends with a measurement.
    pub(super) fn dev_is_due(&self, step: u64, total: u64) -> bool {
        !self.dev.is_empty() && self.spec.dev_every_steps.is_some_and(|n| step.is_multiple_of(n) || step == total)
    }

    /// Whether as many measurements as there is patience for brought nothing better.
    pub(super) fn has_lost_patience(&self, state: &TrainerState) -> bool {
        let since = state.measurements_since_best();
        self.spec.patience.zip(since).is_some_and(|(patience, since)| since as u64 >= patience)
    }

    /// # Errors
    /// Those of the backbone.
    pub(super) fn measure_dev(&self, step: u64) -> Result<DevPoint> {
        let scores = match self.adapter.head() {
            Some(head) => classify::classify(self.backbone, self.adapter, head, self.dev, |_| Ok(()))?,
            None => rank::rank(self.backbone, self.adapter, self.dev, self.answers, |_| Ok(()))?,
        };
        let correct = scores.iter().zip(self.dev).filter(|(s, sample)| rank::best(s) == sample.label as usize).count();
        let point = DevPoint { step, n: self.dev.len() as u64, correct: correct as u64 };
        self.progress.message(&format!("step {step}: {} of {} dev examples right", point.correct, point.n));
        Ok(point)
    }
}
