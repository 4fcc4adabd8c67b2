//! Scoring of answers, metrics and their uncertainty.

pub mod metrics;
