//! The table of a `report` stage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::figure_options::{FigureOptions, Where};
use crate::{config::Spanned, eval::metrics::Metric, report::SplitSizes};

/// Writes the evaluations as tables with tests between methods, in Markdown, CSV and HTML.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportStage")]
pub struct Options {
    /// Heading of the report.
    pub title: String,
    /// What the report is about: paragraphs, with `code` in backticks.
    #[serde(default)]
    pub intro: String,
    /// What a reader must know before believing a figure, a paragraph each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Rows of all tables, from top to bottom: names of methods; `zero-shot` needs no table of its own. A report of `layouts`
    /// alone needs none.
    #[serde(default)]
    pub methods: Vec<Spanned<String>>,
    /// The method that the others are tested against. Left out: the first.
    #[serde(default)]
    pub baseline: Option<Spanned<String>>,
    /// Resamples of the paired bootstrap behind every comparison with the baseline.
    #[serde(default = "default_resamples")]
    pub resamples: Spanned<u32>,
    /// The tables of methods by tasks, in order. A report of `layouts` alone needs none.
    #[serde(default)]
    pub tables: Vec<TableOptions>,
    /// Tables, curves and heat maps along any axes, in order.
    #[serde(default)]
    pub layouts: Vec<FigureOptions>,
    /// Which evaluations `tables` show and test, where they differ in more than task, method and seed.
    #[serde(default, rename = "where")]
    #[schemars(with = "BTreeMap<String, super::figure_options::OneOrMore>")]
    pub only: Where,
    /// How the `published` rows of the tables came about.
    #[serde(default)]
    pub publication: Option<PublicationOptions>,
    /// Values of this pipeline that the publication leaves open, under their own paths, and where each comes from:
    /// `method.lora.alpha = "the usual default"`. Reports list them with the value that is in force.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub choices: serde_json::Value,
}

/// A figure of ours is set against a published one only where model, answers and examples are the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportPublication")]
pub struct PublicationOptions {
    /// How to cite it.
    pub title: String,
    /// Name of the backbone's `[model.NAME]` table.
    pub model: Spanned<String>,
    /// How an answer became a label: `generate`, `rank` or `head`.
    pub answer: String,
    /// Number of examples by task and split: `sst-2 = { train = 6920, test = 1821 }`.
    pub examples: BTreeMap<String, SplitSizes>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportTable")]
pub struct TableOptions {
    /// Name of the table's files, without extension.
    pub name: Spanned<String>,
    /// Heading of the table.
    pub title: String,
    /// Groups of columns, from left to right: names of tasks.
    pub tasks: Vec<Spanned<String>>,
    /// Columns of each group. Left out: each task's own metrics.
    pub metrics: Option<Vec<Metric>>,
    /// Rows of others, from top to bottom.
    #[serde(default)]
    pub published: Vec<PublishedOptions>,
}

/// A published row: `{ title = "SentiLARE (2020)", values = ["-", "-", 58.59, "-"] }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportPublishedRow")]
pub struct PublishedOptions {
    /// The row's name.
    pub title: String,
    /// The method of this report that the row is about.
    #[serde(default)]
    pub method: Option<Spanned<String>>,
    /// Percent, a figure per column; `"-"` where none was published.
    pub values: Spanned<Vec<Figure>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    Percent(f64),
    Missing(Dash),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub enum Dash {
    #[serde(rename = "-")]
    Dash,
}

/// More than for an interval: a correction multiplies the smallest p-value, which is 2 / (resamples + 1).
fn default_resamples() -> Spanned<u32> {
    Spanned { value: 4000, span: None }
}
