//! The figures of a report over any axes: their cells, means over seeds with intervals.

use std::collections::BTreeMap;

use super::{
    cells::MetricName,
    evidence::Run,
    figure_document::{Figure, FigurePanel, FigureRow},
    figure_layout::{Axes, AxisLayout, FigureLayout},
    groups::Group,
    placing::{place, selected},
    table::mark_best,
};
use crate::report::named::Named;
use crate::{
    base::error::{Error, Result},
    eval::metrics::Metric,
};

/// The cells of a figure.
///
/// # Errors
/// Evaluations of one cell that differ in more than the seed, or were made on different examples.
pub fn figure(layout: &FigureLayout, runs: &[Run]) -> Result<Figure> {
    let axes: Vec<Axes> = runs.iter().map(|run| run.axes.clone()).collect();
    let cells = place(layout, &axes).map_err(|clash| {
        Error::internal(format!("{} evaluations fall into one cell, {}", clash.evaluations, clash.cell))
    })?;
    let groups = cells.iter().map(|(at, members)| {
        let mut members: Vec<&Run> = members.iter().map(|i| &runs[*i]).collect();
        members.sort_by_key(|run| (run.evaluation.seed, run.digest));
        Ok((*at, Group::of(members)?))
    });
    let groups: BTreeMap<_, Group> = groups.collect::<Result<_>>()?;
    let columns = values(&layout.columns);
    let panels = values(&layout.panels).into_iter().enumerate().map(|(p, panel)| {
        let rows = values(&layout.rows).into_iter().enumerate().map(|(r, row)| {
            let cell = |(c, metric): (usize, &Metric)| groups.get(&[p, r, c]).and_then(|group| group.cell(*metric));
            let places = (0..columns.len()).flat_map(|c| layout.metrics.iter().map(move |m| (c, m)));
            let (name, title) = (row.map(|v| v.name.clone()), row.map(|v| v.title.clone()));
            FigureRow { name, title, cells: places.map(cell).collect() }
        });
        let mut rows: Vec<FigureRow> = rows.collect();
        mark_best(&mut rows.iter_mut().map(|row| row.cells.as_mut_slice()).collect::<Vec<_>>());
        FigurePanel { name: panel.map(|v| v.name.clone()), title: panel.map(|v| v.title.clone()), rows }
    });
    let name = |axis: &Option<AxisLayout>| axis.as_ref().map(|axis| axis.name.clone());
    let shown: Vec<usize> = cells.into_values().flatten().collect();
    Ok(Figure {
        name: layout.name.clone(),
        title: layout.title.clone(),
        form: layout.form,
        panel_axis: name(&layout.panels),
        row_axis: name(&layout.rows),
        column_axis: name(&layout.columns),
        panels: panels.collect(),
        columns: columns.into_iter().flatten().cloned().collect(),
        metrics: layout.metrics.iter().map(MetricName::of).collect(),
        without_axis: axes.iter().filter(|axes| selected(&layout.only, axes)).count() - shown.len(),
        bootstrap: shown.first().map(|i| runs[*i].evaluation.intervals.bootstrap),
        fixed: layout.only.iter().map(|(axis, values)| format!("{axis} = {}", values.join(" or "))).collect(),
        shown,
    })
}

/// The values of an axis; one that is none where there is no axis.
fn values(axis: &Option<AxisLayout>) -> Vec<Option<&Named>> {
    axis.as_ref().map_or_else(|| vec![None], |axis| axis.values.iter().map(Some).collect())
}
