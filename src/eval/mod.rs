//! Scoring of answers, metrics and their uncertainty.

pub mod bootstrap;
mod evaluation;
pub mod metrics;
pub mod rank;
pub mod significance;

pub use evaluation::{Evaluation, MethodContext, ModelContext, TaskContext, TrainingContext};
