//! Evidence and a layout become a report: every figure, best cell, test and note is decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    basis::local_copies,
    build_figures::figure,
    contrasts, details,
    document::{Report, ResultRow},
    evidence::{Evidence, Run},
    figure_document::Figure,
    grid::Grid,
    groups,
    layout::Layout,
    placing::selected,
    table,
};
use crate::base::error::{Error, Result};
use crate::report::{named::Named, text::on_lines};

impl Report {
    /// # Errors
    /// If two evaluations fill the same cell, those of one task were made on different examples, or a prediction names
    /// no label.
    pub fn build(layout: &Layout, evidence: &Evidence) -> Result<Self> {
        let (layout, evidence) = (&on_lines(layout)?, &evidence.on_lines()?);
        evidence.runs.iter().try_for_each(groups::whole)?;
        let figures = layout.figures.iter().map(|f| figure(f, &evidence.runs)).collect::<Result<Vec<_>>>()?;
        let in_tables = |run: &&Run| !layout.tables.is_empty() && selected(&layout.in_tables, &run.axes);
        let groups = groups::group(&evidence.runs.iter().filter(in_tables).collect::<Vec<_>>())?;
        let models = groups::models(evidence)?;
        let baseline = baseline(layout)?;
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
            results: results(&grid, &evidence.runs),
            constructs: constructs(&grid),
            unplaced: unplaced(&grid, &figures, &evidence.runs),
            publication: grid.publication().map(|p| p.title.clone()),
            choices: layout.choices.clone(),
            tables,
            figures,
            contrasts,
            datasets,
            baseline,
            models,
        })
    }
}

/// All evaluations: placed ones in the order of the tables, then the rest by name.
fn results(grid: &Grid, runs: &[Run]) -> Vec<ResultRow> {
    let task_order: Vec<_> = grid.all_tasks().iter().map(|t| t.name.as_str()).collect();
    let method_order: Vec<_> = grid.layout.methods.iter().map(|m| m.name.as_str()).collect();
    let place = |order: &[&str], name: &str| order.iter().position(|n| *n == name).unwrap_or(order.len());
    let mut runs: Vec<&Run> = runs.iter().collect();
    runs.sort_by_cached_key(|run| {
        let e = &run.evaluation;
        let (task, method) = (&e.task.name, &e.method.name);
        let key = (place(&task_order, task), task.clone(), e.model.name.clone(), place(&method_order, method));
        (key, method.clone(), e.seed, run.digest)
    });
    let row =
        |r: &Run| ResultRow { evaluation: r.evaluation.clone(), digest: r.digest.to_string(), axes: r.axes.clone() };
    runs.into_iter().map(row).collect()
}

/// The method that others are tested against; without tables there need be none.
fn baseline(layout: &Layout) -> Result<Named> {
    let none = Named { name: String::new(), title: String::new() };
    if layout.tables.is_empty() && layout.methods.is_empty() {
        return Ok(none);
    }
    let found = layout.methods.iter().find(|m| m.name == layout.baseline).cloned();
    found.ok_or_else(|| Error::input(format!("the baseline `{}` is not among the report's methods", layout.baseline)))
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

fn unplaced(grid: &Grid, figures: &[Figure], runs: &[Run]) -> Vec<String> {
    let (tasks, methods) = (grid.all_tasks(), &grid.layout.methods);
    let in_a_table = |run: &Run| {
        let (task, method) = (&run.evaluation.task.name, &run.evaluation.method.name);
        let named = tasks.iter().any(|t| t.name == *task) && methods.iter().any(|m| m.name == *method);
        named && selected(&grid.layout.in_tables, &run.axes)
    };
    let in_a_figure: BTreeSet<usize> = figures.iter().flat_map(|f| f.shown.iter().copied()).collect();
    let nowhere = runs.iter().enumerate().filter(|(i, run)| !in_a_table(run) && !in_a_figure.contains(i));
    let title = |(_, run): (usize, &Run)| format!("{} on {}", run.evaluation.method.name, run.evaluation.task.name);
    nowhere.map(title).collect::<BTreeSet<_>>().into_iter().collect()
}
