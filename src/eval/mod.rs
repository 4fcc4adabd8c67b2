//! Scoring of answers, metrics and their uncertainty.

pub mod bootstrap;
pub mod classify;
mod evaluation;
pub mod generate;
pub mod metrics;
pub mod parse_answer;
mod questions;
pub mod rank;
pub mod significance;

pub use evaluation::{Evaluation, MethodContext, ModelContext, TaskContext, TrainingContext};
pub use questions::Question;
