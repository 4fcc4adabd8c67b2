//! What figures over any axes show: which evaluations, and along what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::named::Named;
use crate::eval::metrics::Metric;

/// The axes of one evaluation: names, and the value that it has there.
pub type Axes = BTreeMap<String, String>;

/// Axes that are fixed, each to one of some values. What doesn't have an axis at all passes.
pub type Selection = BTreeMap<String, Vec<String>>;

/// The axis that is never shown: figures are means over its values.
pub const SEED: &str = "seed";

/// A table, curves or a heat map over up to three axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureLayout {
    /// Name of the figure's files, without extension.
    pub name: String,
    pub title: String,
    pub form: Form,
    pub panels: Option<AxisLayout>,
    /// Of curves: a line each.
    pub rows: Option<AxisLayout>,
    /// Of curves: places on the horizontal axis, numbers in rising order.
    pub columns: Option<AxisLayout>,
    /// Curves and heat maps have one.
    pub metrics: Vec<Metric>,
    pub only: Selection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A row and a column a value.
    #[default]
    Table,
    /// A metric over an axis of numbers.
    Curve,
    /// A shade and a figure for each row and column.
    Heatmap,
}

/// An axis and its values, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisLayout {
    pub name: String,
    pub values: Vec<Named>,
}

impl FigureLayout {
    /// Panels, rows and columns, as far as there are any.
    pub fn axes(&self) -> impl Iterator<Item = &AxisLayout> {
        [&self.panels, &self.rows, &self.columns].into_iter().flatten()
    }
}
