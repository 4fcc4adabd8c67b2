//! `evaluate`: predictions and metrics of a backbone with or without an adapter.

mod evaluate_resolve;
mod evaluate_run;
mod evaluate_stage;
mod evaluate_table;
mod predictions;

pub use evaluate_stage::Evaluate;
pub use evaluate_table::METRICS_FILE;
