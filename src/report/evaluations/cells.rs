//! Cells of tables and figures, and what they measure.

use serde::Serialize;

use crate::eval::{bootstrap::Interval, metrics::Metric};

/// A metric, in files and for people.
#[derive(Debug, Serialize)]
pub struct MetricName {
    pub name: &'static str,
    pub title: &'static str,
}

impl MetricName {
    pub fn of(metric: &Metric) -> Self {
        Self { name: metric.name(), title: metric.title() }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    pub mean: f64,
    /// Over seeds; none for one seed.
    pub deviation: Option<f64>,
    pub seeds: usize,
    pub interval: Interval,
    pub n: usize,
    /// Nothing in its column is higher, to the two decimals that are shown.
    pub best: bool,
    /// Of the panel with the details.
    pub anchor: String,
}
