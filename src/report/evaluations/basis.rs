//! What the figures of a report rest on, in sentences.

use std::collections::BTreeSet;

use super::{
    super::format,
    evidence::{DatasetFacts, Run},
    grid::Grid,
    groups::Group,
    layout::{TableLayout, TaskColumns},
    published,
};
use crate::eval::Evaluation;

/// A note on the files that aren't those that their cards name.
pub fn local_copies(datasets: &[DatasetFacts]) -> Option<String> {
    let files = datasets.iter().flat_map(|d| d.local.iter().map(move |file| format!("`{file}` of {}", d.dataset)));
    let files: Vec<String> = files.collect::<BTreeSet<_>>().into_iter().collect();
    (!files.is_empty()).then(|| format!("Local copies, not the canonical bytes: {}.", format::list(&files)))
}

/// What keeps the runs of a cell from being compared with published figures; None where there are none to compare.
pub fn obstacles(grid: &Grid, group: &Group) -> Option<BTreeSet<String>> {
    let publication = grid.publication()?;
    Some(group.runs.iter().flat_map(|r| published::obstacles(publication, &r.evaluation)).collect())
}

/// What the published rows of a table are, and why some columns have no difference to them.
fn published_basis(grid: &Grid, layout: &TableLayout, groups: &[&Group]) -> Option<String> {
    let publication = grid.publication().filter(|_| !layout.published.is_empty())?;
    let differing: BTreeSet<String> = groups.iter().filter_map(|g| obstacles(grid, g)).flatten().collect();
    let differing: Vec<String> = differing.into_iter().collect();
    let mut line = format!("Published rows are copied from {}; `-`: not given there.", publication.title);
    if groups.iter().any(|g| obstacles(grid, g).is_some_and(|found| found.is_empty())) {
        line.push_str(
            " `ours − published` is in percentage points; its interval is ours, shifted, since none was published.",
        );
    }
    if !differing.is_empty() {
        line.push_str(&format!(" No difference is shown where ours was made otherwise: {}.", format::list(&differing)));
    }
    Some(line)
}

/// Backbone, data, budget, numerics, seeds and intervals of a table.
pub fn basis(grid: &Grid, layout: &TableLayout) -> Vec<String> {
    let groups: Vec<_> = layout.tasks.iter().flat_map(|c| grid.of_task(&c.task.name)).collect();
    let runs: Vec<&Run> = groups.iter().flat_map(|(.., g)| g.runs.iter().copied()).collect();
    let published = published_basis(grid, layout, &groups.iter().map(|(.., g)| *g).collect::<Vec<_>>());
    let Some(first) = runs.first() else {
        return std::iter::once("No evaluation reached this table.".to_owned()).chain(published).collect();
    };
    let distinct = |read: &dyn Fn(&Evaluation) -> String| {
        let values: BTreeSet<String> = runs.iter().map(|r| read(&r.evaluation)).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!(
        "Backbone: {}, frozen. Numerics: {}. Answers: {}.",
        distinct(&|e| format!("{} ({})", e.model.title, e.model.license)),
        distinct(&|e| e.numerics.clone()),
        distinct(&|e| e.answer.clone())
    )];
    let unparsable = groups.iter().filter_map(|(model, _, method, g)| {
        let count = |r: &&Run| r.evaluation.metrics.unparsable;
        let (all, wrong): (u64, u64) =
            (g.runs.iter().map(|r| r.evaluation.n as u64).sum(), g.runs.iter().map(count).sum());
        let e = &g.runs[0].evaluation;
        let row = grid.row_title(*model, &method.title);
        let of = format::count(all);
        (wrong > 0).then(|| format!("{row} on {} {} of {of}", e.task.title, format::count(wrong)))
    });
    let unparsable: Vec<_> = unparsable.collect();
    if !unparsable.is_empty() {
        lines.push(format!("Answers that name no label, counted as wrong: {}.", unparsable.join("; ")));
    }
    let truncated: BTreeSet<String> = runs
        .iter()
        .filter(|r| r.evaluation.truncated > 0)
        .map(|r| format!("{} {}", r.evaluation.task.title, format::count(r.evaluation.truncated as u64)))
        .collect();
    if !truncated.is_empty() {
        let truncated: Vec<_> = truncated.into_iter().collect();
        lines.push(format!("Test sentences cut to fit `max_tokens` or the context: {}.", truncated.join("; ")));
    }
    let data = layout.tasks.iter().filter_map(|TaskColumns { task, .. }| {
        let e = &grid.of_task(&task.name).first()?.3.runs[0].evaluation;
        let n = format::plural(e.n, &format!("{} example", e.split));
        Some(format!("{}: {} ({}), {n}", task.title, e.task.dataset, e.task.scheme))
    });
    lines.push(format!("Data: {}.", data.collect::<Vec<_>>().join("; ")));
    let budgets = grid.layout.methods.iter().filter_map(|method| {
        let of_method = groups.iter().filter(|(_, _, m, _)| m.name == method.name);
        let runs: Vec<&Run> = of_method.flat_map(|(.., g)| g.runs.iter().copied()).collect();
        let budget = budget(&runs);
        (!budget.is_empty()).then(|| format!("{}: {budget}", method.title))
    });
    let budgets: Vec<_> = budgets.collect();
    if !budgets.is_empty() {
        lines.push(format!("Budget: {}.", budgets.join("; ")));
    }
    let seeds: BTreeSet<i64> = runs.iter().filter_map(|r| r.evaluation.seed).collect();
    let seeds: Vec<String> = seeds.iter().map(i64::to_string).collect();
    let bootstrap = first.evaluation.intervals.bootstrap;
    lines.push(format!(
        "Seeds: {}. Brackets: {}% confidence interval, percentile bootstrap over the test examples ({} resamples).{}",
        if seeds.is_empty() { "none (nothing is drawn at random)".to_owned() } else { seeds.join(", ") },
        (bootstrap.level * 100.0).round(),
        format::count(bootstrap.samples.into()),
        if groups.iter().any(|(.., g)| g.runs.len() > 1) {
            " ± is the sample deviation over seeds; the figure before it is their mean."
        } else {
            ""
        }
    ));
    lines.extend(published);
    lines
}

/// `150 steps of 16, 1.20 passes over 2,000 examples, learning rate 1e-3, 460,800 trainable parameters`; ranges where
/// runs differ, empty where nothing was trained.
pub fn budget(runs: &[&Run]) -> String {
    let trained: Vec<_> = runs.iter().filter_map(|r| r.evaluation.training.as_ref()).collect();
    if trained.is_empty() {
        return String::new();
    }
    format!(
        "{} steps of {}, {} passes over {} examples, learning rate {}, {} trainable parameters",
        format::range(trained.iter().map(|t| t.steps), format::count),
        format::range(trained.iter().map(|t| t.batch_size), format::count),
        format::range(trained.iter().map(|t| t.epochs), |e| format!("{e:.2}")),
        format::range(trained.iter().map(|t| t.examples), format::count),
        format::range(trained.iter().map(|t| t.learning_rate), |r| format!("{r:e}")),
        format::range(trained.iter().map(|t| t.trainable_parameters), format::count),
    )
}
