//! One table: its rows, columns and best cells.

use super::{
    basis,
    document::{MetricName, Row, Source, Table, TaskHead},
    grid::Grid,
    layout::TableLayout,
    published::{self, Gap},
};
use crate::eval::metrics::Metric;

pub fn table(grid: &Grid, layout: &TableLayout) -> Table {
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    let mut sources = Vec::new();
    for model in grid.row_models() {
        for method in &grid.layout.methods {
            let title = grid.row_title(model, &method.title);
            let published = published::of_method(layout, &method.name);
            let (mut cells, mut gaps) = (Vec::new(), Vec::new());
            for columns in &layout.tasks {
                let task = &columns.task;
                let group = grid.get(model, &task.name, &method.name);
                if group.is_none() {
                    missing.push(format!("{title} on {}", task.title));
                }
                sources.extend(group.into_iter().flat_map(|g| &g.runs).map(|run| Source {
                    task: task.title.clone(),
                    method: title.clone(),
                    seed: run.evaluation.seed,
                    digest: run.digest.to_string(),
                }));
                let comparable = group.is_some_and(|g| basis::obstacles(grid, g).is_some_and(|found| found.is_empty()));
                for metric in &columns.metrics {
                    let cell = group.and_then(|g| g.cell(*metric));
                    let published = published.filter(|_| comparable).and_then(|p| p.get(cells.len()).copied()?);
                    let gap = cell.as_ref().zip(published);
                    gaps.push(gap.map(|(c, p)| Gap::new(c.mean, c.interval, p / 100.0)));
                    cells.push(cell);
                }
            }
            if gaps.iter().all(Option::is_none) {
                gaps.clear();
            }
            rows.push(Row { title, method: method.name.clone(), model: model.map(|m| m.title.clone()), cells, gaps });
        }
    }
    mark_best(&mut rows);
    let majority = layout.tasks.iter().flat_map(|columns| {
        let metrics = grid.of_task(&columns.task.name).first().map(|(.., g)| &g.runs[0].evaluation.metrics);
        columns.metrics.iter().map(move |m| metrics.map(|have| have.majority(*m)))
    });
    let majority: Vec<_> = majority.collect();
    let head = |metric: &Metric| MetricName { name: metric.name(), title: metric.title() };
    let tasks = layout.tasks.iter().map(|columns| TaskHead {
        name: columns.task.name.clone(),
        title: columns.task.title.clone(),
        metrics: columns.metrics.iter().map(head).collect(),
    });
    Table {
        name: layout.name.clone(),
        title: layout.title.clone(),
        tasks: tasks.collect(),
        starts: layout.tasks.iter().flat_map(|c| (0..c.metrics.len()).map(|i| i == 0)).collect(),
        published: published::lines(layout),
        measured: majority.iter().any(Option::is_some),
        majority,
        basis: basis::basis(grid, layout),
        rows,
        missing,
        sources,
    }
}

fn mark_best(rows: &mut [Row]) {
    let columns = rows.first().map_or(0, |r| r.cells.len());
    for column in 0..columns {
        let shown = |row: &Row| row.cells[column].as_ref().map(|c| (c.mean * 1e4).round() as i64);
        let values: Vec<i64> = rows.iter().filter_map(shown).collect();
        let Some(best) = values.iter().max().filter(|_| values.len() > 1) else { continue };
        let winners: Vec<usize> = (0..rows.len()).filter(|r| shown(&rows[*r]) == Some(*best)).collect();
        for row in winners {
            if let Some(cell) = &mut rows[row].cells[column] {
                cell.best = true;
            }
        }
    }
}
