//! What a report shows, and in which order.

use serde::{Deserialize, Serialize};

use crate::eval::{bootstrap::Bootstrap, metrics::Metric};

/// A definition's name in the pipeline file, and how tables call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    pub title: String,
    /// Markdown.
    pub intro: String,
    /// What a reader must know before believing a figure; Markdown, one item each.
    pub notes: Vec<String>,
    /// Rows, from top to bottom.
    pub methods: Vec<Named>,
    /// The method that others are tested against, by name.
    pub baseline: String,
    /// How differences from the baseline are resampled.
    pub comparison: Bootstrap,
    pub tables: Vec<TableLayout>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableLayout {
    /// Name of the table's files, without extension.
    pub name: String,
    pub title: String,
    /// Groups of columns, from left to right.
    pub tasks: Vec<Named>,
    /// Columns of each group.
    pub metrics: Vec<Metric>,
}
