//! Evidence and a layout become a report: every figure, best cell, test and note is decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::text::on_lines,
    basis::local_copies,
    contrasts, details,
    document::{Report, ResultRow},
    evidence::Evidence,
    grid::Grid,
    groups::{self, Key},
    layout::Layout,
    table,
};
use crate::base::error::{Error, Result};

impl Report {
    /// # Errors
    /// If two evaluations fill the same cell, those of one task were made on different examples, or a prediction names
    /// no label.
    pub fn build(layout: &Layout, evidence: &Evidence) -> Result<Self> {
        let (layout, evidence) = (&on_lines(layout)?, &evidence.on_lines()?);
        let groups = groups::group(evidence)?;
        let models = groups::models(evidence)?;
        let baseline = layout.methods.iter().find(|m| m.name == layout.baseline).cloned().ok_or_else(|| {
            Error::input(format!("the baseline `{}` is not among the report's methods", layout.baseline))
        })?;
        let grid = Grid { layout, groups: &groups, models: &models, baseline: &baseline };
        let tables: Vec<_> = layout.tables.iter().map(|t| table::table(&grid, t)).collect();
        let contrasts = contrasts::contrasts(&grid)?;
        let mut datasets = evidence.datasets.clone();
        datasets.sort();
        datasets.dedup();
        Ok(Self {
            title: layout.title.clone(),
            intro: layout.intro.clone(),
            notes: layout.notes.iter().cloned().chain(local_copies(&datasets)).collect(),
            methods: layout.methods.clone(),
            verdicts: contrasts::verdicts(&grid, &contrasts),
            resamples: layout.comparison.samples,
            tasks: details::tasks(&grid),
            results: results(&grid),
            constructs: constructs(&grid),
            unplaced: unplaced(&grid),
            publication: grid.publication().map(|p| p.title.clone()),
            choices: layout.choices.clone(),
            tables,
            contrasts,
            datasets,
            baseline,
            models,
        })
    }
}

/// All evaluations: placed ones in the order of the tables, then the rest by name.
fn results(grid: &Grid) -> Vec<ResultRow> {
    let task_order: Vec<_> = grid.all_tasks().iter().map(|t| t.name.as_str()).collect();
    let method_order: Vec<_> = grid.layout.methods.iter().map(|m| m.name.as_str()).collect();
    let place = |order: &[&str], name: &str| order.iter().position(|n| *n == name).unwrap_or(order.len());
    let mut keys: Vec<&Key> = grid.groups.keys().collect();
    keys.sort_by_cached_key(|[model, task, method]| {
        (place(&task_order, task), task, model, place(&method_order, method), method)
    });
    let runs = keys.into_iter().flat_map(|key| &grid.groups[key].runs);
    runs.map(|r| ResultRow { evaluation: r.evaluation.clone(), digest: r.digest.to_string() }).collect()
}

fn constructs(grid: &Grid) -> Vec<(String, Vec<String>)> {
    let mut constructs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for task in grid.all_tasks() {
        if let Some((.., group)) = grid.of_task(&task.name).first() {
            let construct = group.runs[0].evaluation.task.construct.as_str();
            constructs.entry(construct).or_default().push(task.title.clone());
        }
    }
    constructs.into_iter().map(|(c, tasks)| (c.to_owned(), tasks)).collect()
}

fn unplaced(grid: &Grid) -> Vec<String> {
    let (tasks, methods) = (grid.all_tasks(), &grid.layout.methods);
    let placed =
        |task: &str, method: &str| tasks.iter().any(|t| t.name == task) && methods.iter().any(|m| m.name == method);
    let all = grid.groups.keys().filter(|[_, task, method]| !placed(task, method));
    all.map(|[_, task, method]| format!("{method} on {task}")).collect::<BTreeSet<_>>().into_iter().collect()
}
