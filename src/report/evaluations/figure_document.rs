//! What a figure over any axes says, before it is written in any format.

use serde::Serialize;

use super::{
    super::named::Named,
    cells::{Cell, MetricName},
    figure_layout::Form,
};
use crate::eval::bootstrap::Bootstrap;

/// A table, curves or a heat map.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub title: String,
    pub form: Form,
    /// Names of the axes; none where a figure has no such axis.
    pub panel_axis: Option<String>,
    pub row_axis: Option<String>,
    pub column_axis: Option<String>,
    pub columns: Vec<Named>,
    pub metrics: Vec<MetricName>,
    pub panels: Vec<FigurePanel>,
    /// Evaluations that were selected and are without one of the axes.
    pub without_axis: usize,
    /// Of the intervals; none where nothing was evaluated.
    pub bootstrap: Option<Bootstrap>,
    /// Axes that are fixed: `task = sst-2`.
    pub fixed: Vec<String>,
    /// Positions of the evaluations that are shown.
    #[serde(skip)]
    pub shown: Vec<usize>,
}

#[derive(Debug, Serialize)]
pub struct FigurePanel {
    pub name: Option<String>,
    pub title: Option<String>,
    pub rows: Vec<FigureRow>,
}

#[derive(Debug, Serialize)]
pub struct FigureRow {
    pub name: Option<String>,
    pub title: Option<String>,
    /// Column by column, metric by metric.
    pub cells: Vec<Option<Cell>>,
}
