//! The figures of a report as CSV.

use std::collections::BTreeSet;

use super::{
    super::csv::{NA, na, number, write},
    cells::Cell,
    document::{Report, Table, seed_text},
    figure_document::Figure,
};
use crate::{base::error::Result, eval::metrics::Metric};

/// Published rows first, then one row per method; for each task its examples and seeds, and for each metric the mean, the
/// ends of its interval, the deviation over seeds, and the difference to what was published.
///
/// # Errors
/// None that rows of one length can cause.
pub fn table(table: &Table) -> Result<String> {
    let mut header = ["kind", "model", "method"].map(str::to_owned).to_vec();
    for task in &table.tasks {
        header.extend(["n", "seeds"].map(|c| format!("{}.{c}", task.name)));
        for metric in &task.metrics {
            let columns = ["", ".lo", ".hi", ".deviation", ".less_published"];
            header.extend(columns.map(|c| format!("{}.{}{c}", task.name, metric.name)));
        }
    }
    let published = table.published.iter().map(|line| {
        let mut out = vec!["published".to_owned(), line.title.clone(), na()];
        for (figure, start) in line.cells.iter().zip(&table.starts) {
            if *start {
                out.extend([na(), na()]);
            }
            out.push(figure.map_or_else(na, number));
            out.extend([NA; 4].map(str::to_owned));
        }
        out
    });
    let measured = table.rows.iter().map(|row| {
        let mut out = vec!["measured".to_owned(), row.model.clone().unwrap_or_else(na), row.method.clone()];
        for (i, (cell, start)) in row.cells.iter().zip(&table.starts).enumerate() {
            if *start {
                let size = |cell: &Cell| [cell.n.to_string(), cell.seeds.to_string()];
                out.extend(cell.as_ref().map_or_else(|| [na(), "0".to_owned()], size));
            }
            match cell {
                Some(c) => out.extend([
                    number(c.mean),
                    number(c.interval.lo),
                    number(c.interval.hi),
                    c.deviation.map_or_else(na, number),
                    row.gaps.get(i).copied().flatten().map_or_else(na, |g| number(g.value)),
                ]),
                None => out.extend([NA; 5].map(str::to_owned)),
            }
        }
        out
    });
    write(std::iter::once(header).chain(published).chain(measured))
}

/// One row per evaluation and metric.
///
/// # Errors
/// None that rows of one length can cause.
pub fn results(report: &Report) -> Result<String> {
    let header = [
        "task",
        "dataset",
        "scheme",
        "construct",
        "language",
        "model",
        "method",
        "seed",
        "split",
        "answer",
        "numerics",
        "n",
        "unparsable",
        "truncated",
        "metric",
        "value",
        "lo",
        "hi",
        "evaluation",
    ];
    let axes: BTreeSet<&String> = report.results.iter().flat_map(|row| row.axes.keys()).collect();
    let header = header.map(str::to_owned).into_iter().chain(axes.iter().map(|axis| format!("axis.{axis}")));
    let header: Vec<String> = header.collect();
    let axes = &axes;
    let rows = report.results.iter().flat_map(|row| {
        let e = &row.evaluation;
        Metric::ALL.into_iter().map(move |metric| {
            let interval = e.intervals.get(metric);
            let mut line = vec![
                e.task.name.clone(),
                e.task.dataset.clone(),
                e.task.scheme.clone(),
                e.task.construct.clone(),
                e.task.language.clone(),
                e.model.name.clone(),
                e.method.name.clone(),
                e.seed.map_or(NA.to_owned(), |_| seed_text(e.seed)),
                e.split.clone(),
                e.answer.clone(),
                e.numerics.clone(),
                e.n.to_string(),
                e.metrics.unparsable.to_string(),
                e.truncated.to_string(),
                metric.name().to_owned(),
                number(e.metrics.get(metric)),
                number(interval.lo),
                number(interval.hi),
                row.digest.clone(),
            ];
            line.extend(axes.iter().map(|axis| row.axes.get(*axis).cloned().unwrap_or_else(na)));
            line
        })
    });
    write(std::iter::once(header).chain(rows))
}

/// One row per cell and metric of a figure over axes; cells without an evaluation have no row.
///
/// # Errors
/// None that rows of one length can cause.
pub fn figure(figure: &Figure) -> Result<String> {
    let axes = [&figure.panel_axis, &figure.row_axis, &figure.column_axis];
    let figures = ["metric", "value", "lo", "hi", "deviation", "seeds", "n"];
    let header = axes.into_iter().flatten().cloned().chain(figures.map(str::to_owned)).collect();
    let mut lines = vec![header];
    for panel in &figure.panels {
        for row in &panel.rows {
            for (i, cell) in row.cells.iter().enumerate() {
                let Some(c) = cell else { continue };
                let column = figure.columns.get(i / figure.metrics.len()).map(|v| v.name.clone());
                let place = [panel.name.clone(), row.name.clone(), column].into_iter().flatten();
                let metric = figure.metrics[i % figure.metrics.len()].name.to_owned();
                let ends = [c.mean, c.interval.lo, c.interval.hi].map(number);
                let spread = [c.deviation.map_or_else(na, number), c.seeds.to_string(), c.n.to_string()];
                lines.push(place.chain([metric]).chain(ends).chain(spread).collect());
            }
        }
    }
    write(lines)
}
