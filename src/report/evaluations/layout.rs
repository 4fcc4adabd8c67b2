//! What a report shows, and in which order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    super::named::Named,
    figure_layout::{Axes, FigureLayout, Selection},
};
use crate::eval::{bootstrap::Bootstrap, metrics::Metric};

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
    /// Whose figures stand beside ours.
    pub publication: Option<Publication>,
    pub choices: Vec<Choice>,
    /// Tables, curves and heat maps over any axes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureLayout>,
    /// Which evaluations the tables of methods by tasks show, and what is tested and told in detail.
    #[serde(default, skip_serializing_if = "Selection::is_empty")]
    pub in_tables: Selection,
    /// The axes of all evaluations, in the order of the inputs; empty where nothing asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<Axes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableLayout {
    /// Name of the table's files, without extension.
    pub name: String,
    pub title: String,
    /// Groups of columns, from left to right.
    pub tasks: Vec<TaskColumns>,
    /// Rows that somebody else published.
    pub published: Vec<PublishedRow>,
}

/// A group of columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskColumns {
    pub task: Named,
    pub metrics: Vec<Metric>,
}

/// A line of a published table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    pub title: String,
    /// The method, by name, that the publication means by it; none for other people's models.
    pub method: Option<String>,
    /// Percent, column by column; none where nothing was published.
    pub values: Vec<Option<f64>>,
}

/// How published figures came about: a figure of ours is set against them only if it was made likewise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// How to cite it.
    pub title: String,
    /// The backbone.
    pub model: Named,
    /// Whether its files were replaced by others for this run.
    pub files_replaced: bool,
    /// How an answer became a label.
    pub answer: String,
    /// Sizes of the splits, by task.
    pub examples: BTreeMap<String, SplitSizes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSizes {
    pub train: u64,
    pub test: u64,
}

/// A value that the publication leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Where the pipeline file says it: `method.lora.alpha`.
    pub path: String,
    pub value: String,
    /// Where the value comes from.
    pub reason: String,
}
