//! One table: its rows, columns and best cells.

use super::{
    basis,
    cells::{Cell, MetricName},
    document::{Row, Source, Table, TaskHead},
    grid::Grid,
    layout::TableLayout,
    published::{self, Gap},
};

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
    mark_best(&mut rows.iter_mut().map(|row| row.cells.as_mut_slice()).collect::<Vec<_>>());
    let majority = layout.tasks.iter().flat_map(|columns| {
        let metrics = grid.of_task(&columns.task.name).first().map(|(.., g)| &g.runs[0].evaluation.metrics);
        columns.metrics.iter().map(move |m| metrics.map(|have| have.majority(*m)))
    });
    let majority: Vec<_> = majority.collect();
    let tasks = layout.tasks.iter().map(|columns| TaskHead {
        name: columns.task.name.clone(),
        title: columns.task.title.clone(),
        metrics: columns.metrics.iter().map(MetricName::of).collect(),
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

/// Marks in every column what nothing is higher than, to the two decimals that are shown; a figure alone is no best one.
pub fn mark_best(rows: &mut [&mut [Option<Cell>]]) {
    let shown = |cell: &Option<Cell>| cell.as_ref().map(|c| (c.mean * 1e4).round() as i64);
    for column in 0..rows.first().map_or(0, |row| row.len()) {
        let values: Vec<i64> = rows.iter().filter_map(|row| shown(&row[column])).collect();
        let Some(best) = values.iter().max().filter(|_| values.len() > 1) else { continue };
        for row in rows.iter_mut() {
            let wins = shown(&row[column]) == Some(*best);
            if let Some(cell) = &mut row[column] {
                cell.best = wins;
            }
        }
    }
}
