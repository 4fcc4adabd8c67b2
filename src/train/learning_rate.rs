//! Learning-rate schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It doesn't.
    Constant,
    /// In a straight line to 0 at the end.
    #[default]
    Linear,
    /// Along half a cosine to 0 at the end.
    Cosine,
}

impl Schedule {
    /// Factor on the learning rate at `step` (from 0) of `total`. In warm-up it rises in a straight line and reaches 1 at
    /// its last step; the first step after it has 1 too, and a step after the last one would have 0.
    pub fn factor(self, step: u64, total: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - progress,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

/// Warm-up steps that `warmup` stands for: below 1 a share of all steps, from 1 on a number of steps.
pub fn warmup_steps(warmup: f64, total: u64) -> u64 {
    let steps = if warmup < 1.0 { (warmup * total as f64).round() } else { warmup.round() };
    (steps as u64).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_and_the_rest_falls() {
        let linear: Vec<f64> = (0..6).map(|s| Schedule::Linear.factor(s, 6, 2)).collect();
        assert_eq!(linear, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
        let cosine = Schedule::Cosine;
        assert_eq!(cosine.factor(2, 6, 2), 1.0);
        assert!((cosine.factor(4, 6, 2) - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Constant.factor(5, 6, 2), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 3, 0), 1.0);
    }

    #[test]
    fn warm_up_is_a_share_or_a_count() {
        assert_eq!([0.0, 0.1, 1.0, 7.0, 99.0].map(|w| warmup_steps(w, 30)), [0, 3, 1, 7, 30]);
    }
}
