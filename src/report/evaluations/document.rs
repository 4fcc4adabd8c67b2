//! What a report of evaluations says, before it is written in any format.

use serde::Serialize;

use super::{
    super::{format::MISSING, named::Named},
    cells::{Cell, MetricName},
    evidence::DatasetFacts,
    figure_document::Figure,
    figure_layout::Axes,
    layout::Choice,
    published::{Gap, Line},
};
use crate::eval::{
    Evaluation,
    bootstrap::Interval,
    significance::{Difference, McNemar},
};

#[derive(Debug, Serialize)]
pub struct Report {
    pub title: String,
    pub intro: String,
    pub notes: Vec<String>,
    pub methods: Vec<Named>,
    pub baseline: Named,
    pub models: Vec<Model>,
    pub tables: Vec<Table>,
    /// Over other axes than methods and tasks.
    pub figures: Vec<Figure>,
    /// Model by model, task by task, in the order of the methods.
    pub contrasts: Vec<Contrast>,
    pub verdicts: Vec<MethodVerdict>,
    /// Resamples of the contrasts' bootstrap.
    pub resamples: u32,
    pub tasks: Vec<Task>,
    pub datasets: Vec<DatasetFacts>,
    pub results: Vec<ResultRow>,
    /// Constructs that were measured, with the titles of their tasks.
    pub constructs: Vec<(String, Vec<String>)>,
    /// Evaluations that no table shows, as `method on task`.
    pub unplaced: Vec<String>,
    /// How to cite what the published rows of the tables were copied from; none where there are none.
    pub publication: Option<String>,
    pub choices: Vec<Choice>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Model {
    pub name: String,
    pub title: String,
    pub license: String,
}

#[derive(Debug, Serialize)]
pub struct Table {
    pub name: String,
    pub title: String,
    pub tasks: Vec<TaskHead>,
    /// Of every column whether it is the first of its task.
    pub starts: Vec<bool>,
    pub published: Vec<Line>,
    pub rows: Vec<Row>,
    /// Whether any evaluation reached the table.
    pub measured: bool,
    /// What always answering the most frequent label of the test examples scores, a figure per column.
    pub majority: Vec<Option<f64>>,
    /// What the figures rest on, one sentence group a line.
    pub basis: Vec<String>,
    /// Cells without a figure, as `method on task`.
    pub missing: Vec<String>,
    pub sources: Vec<Source>,
}

/// A group of columns.
#[derive(Debug, Serialize)]
pub struct TaskHead {
    pub name: String,
    pub title: String,
    pub metrics: Vec<MetricName>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub title: String,
    pub method: String,
    pub model: Option<String>,
    /// Task by task, metric by metric.
    pub cells: Vec<Option<Cell>>,
    /// Against the published figures of the method; empty where no column can be compared.
    pub gaps: Vec<Option<Gap>>,
}

/// An evaluation behind a table.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    pub task: String,
    pub method: String,
    pub seed: Option<i64>,
    pub digest: String,
}

/// An adapted model against the baseline on one task.
#[derive(Debug, Serialize)]
pub struct Contrast {
    pub model: Option<String>,
    pub task: Named,
    pub method: Named,
    /// None where either side is missing.
    pub tests: Option<PairedTests>,
    pub verdict: Verdict,
}

#[derive(Debug, Serialize)]
pub struct PairedTests {
    pub accuracy: Difference,
    pub macro_f1: Difference,
    pub mcnemar: McNemar,
    /// Holm-corrected McNemar p-value, over all contrasts of the report.
    pub accuracy_p: f64,
    /// Holm-corrected bootstrap p-value, over all contrasts of the report.
    pub macro_f1_p: f64,
    /// Metrics in which the candidate is not ahead.
    pub behind_in: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Ahead in both metrics, significantly.
    Better,
    /// Ahead in both metrics, but chance is not ruled out for both.
    Unproven,
    /// Not ahead in at least one metric.
    NotBetter,
    /// Significantly behind in at least one metric.
    Worse,
    Missing,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Unproven => "ahead, not significant",
            Self::NotBetter => "not better",
            Self::Worse => "worse",
            Self::Missing => MISSING,
        }
    }
}

/// How often a method beats the baseline.
#[derive(Debug, Serialize)]
pub struct MethodVerdict {
    pub method: Named,
    /// Contrasts that could be made.
    pub of: usize,
    pub better: usize,
    pub unproven: usize,
    pub not_better: usize,
    pub missing: usize,
}

/// Everything about one task that isn't a table cell.
#[derive(Debug, Serialize)]
pub struct Task {
    pub task: Named,
    pub dataset: String,
    pub scheme: String,
    pub construct: String,
    pub language: String,
    pub n: usize,
    pub majority_accuracy: f64,
    pub panels: Vec<Panel>,
    /// Rows that have no panel.
    pub missing: Vec<String>,
    pub curves: Vec<Curve>,
}

/// One model and method on a task, all seeds together.
#[derive(Debug, Serialize)]
pub struct Panel {
    pub anchor: String,
    pub title: String,
    /// Position of the method among the report's.
    pub series: usize,
    pub accuracy: f64,
    pub interval: Interval,
    pub labels: Vec<String>,
    /// Sum over seeds, `[gold][predicted]`.
    pub confusion: Vec<Vec<u64>>,
    /// Sum over seeds, per gold label.
    pub unparsable: Vec<u64>,
    pub support: Vec<u64>,
    /// Mean over seeds.
    pub per_class: Vec<ClassRow>,
    pub seeds: usize,
    pub facts: Vec<String>,
    pub digests: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct ClassRow {
    pub label: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub support: u64,
}

/// One training's loss per optimiser step.
#[derive(Debug, Serialize)]
pub struct Curve {
    pub title: String,
    pub series: usize,
    pub loss: Vec<f32>,
}

/// A line of the long table.
#[derive(Debug, Serialize)]
pub struct ResultRow {
    pub evaluation: Evaluation,
    pub digest: String,
    /// As far as they are known.
    pub axes: Axes,
}

/// A seed as people read it.
pub fn seed_text(seed: Option<i64>) -> String {
    seed.map_or_else(|| "none".to_owned(), |s| s.to_string())
}
