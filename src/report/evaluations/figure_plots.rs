//! Where everything stands in curves and heat maps, in pixels. Templates draw it.

use minijinja::{Value, context};

use super::{
    cells::Cell,
    figure_document::{Figure, FigurePanel, FigureRow},
};
use crate::report::{
    format,
    scale::{nice, spread_along, text_width},
};

/// Width of a panel of curves, and the ends of what is drawn in it.
const PANEL: f64 = 430.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 412.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 226.0;
/// Height of a panel with the names below it.
const HEIGHT: f64 = 280.0;

/// Distance between lines of the legend, and between figures that share a place on the horizontal axis.
const LEGEND: f64 = 20.0;
const DODGE: f64 = 5.0;

/// Colours of lines; further ones are dashed.
const COLOURS: usize = 5;

/// One line a row of the figure, with intervals; two panels side by side.
pub fn curves(figure: &Figure) -> Value {
    let across = figure.panels.len().min(2);
    let width = PANEL * across as f64;
    let (legend, head) = legend(figure, width);
    let (lo, hi, step) = percent_range(figure);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let y = |fraction: f64| BOTTOM - (fraction * 100.0 - lo) / (hi - lo) * (BOTTOM - TOP);
    let values = (0..=((hi - lo) / step).round() as u32).map(|i| lo + f64::from(i) * step);
    let values: Vec<Value> =
        values.map(|v| context! { text => format!("{v:.decimals$}"), y => y(v / 100.0) }).collect();
    let numbers: Vec<f64> = figure.columns.iter().filter_map(|v| v.name.parse().ok()).collect();
    let xs: Vec<f64> = spread_along(&numbers, LEFT + 22.0, RIGHT - 22.0);
    let mut free = f64::NEG_INFINITY;
    let mut ticks = Vec::new();
    for (column, x) in figure.columns.iter().zip(&xs) {
        let half = text_width(&column.title) / 2.0;
        let text = if x - half >= free { column.title.as_str() } else { "" };
        free = if text.is_empty() { free } else { x + half + 6.0 };
        ticks.push(context! { x, text });
    }
    let panels = figure.panels.iter().enumerate().map(|(i, panel)| {
        let lines = panel.rows.iter().enumerate().map(|(s, row)| line(s, row, panel.rows.len(), &xs, &y));
        context! {
            title => panel.title.clone(),
            x => PANEL * (i % across) as f64,
            y => head + HEIGHT * (i / across) as f64,
            lines => lines.collect::<Vec<Value>>(),
        }
    });
    context! {
        title => &figure.title, legend, values, ticks, width,
        panels => panels.collect::<Vec<Value>>(),
        height => head + HEIGHT * figure.panels.len().div_ceil(across) as f64,
        x_axis => figure.column_axis.clone(),
        metric => figure.metrics.first().map(|m| m.title),
        middle => (LEFT + RIGHT) / 2.0, left => LEFT, right => RIGHT, top => TOP, bottom => BOTTOM,
    }
}

fn line(series: usize, row: &FigureRow, of: usize, xs: &[f64], y: &dyn Fn(f64) -> f64) -> Value {
    let aside = (series as f64 - (of - 1) as f64 / 2.0) * DODGE;
    let points = row.cells.iter().zip(xs).filter_map(|(cell, x)| {
        let c = cell.as_ref()?;
        let (lo, hi) = (y(c.interval.lo), y(c.interval.hi));
        Some(context! { x => x + aside, y => y(c.mean), lo, hi, figure => figure_text(c) })
    });
    context! { series => colour(series), again => series >= COLOURS, title => row.title.clone(), points => points.collect::<Vec<Value>>() }
}

/// The first colour is the grey of baselines.
fn colour(series: usize) -> usize {
    series % COLOURS + 1
}

fn figure_text(c: &Cell) -> String {
    format!("{} {}", format::percent(c.mean), format::interval(c.interval))
}

/// Entries of the legend, each at its place, and the height that they take.
fn legend(figure: &Figure, width: f64) -> (Vec<Value>, f64) {
    let rows = figure.panels.first().map_or(&[][..], |panel| &panel.rows);
    let (mut x, mut y) = (LEFT, 0.0);
    let mut entries = Vec::new();
    for (series, title) in rows.iter().enumerate().filter_map(|(i, row)| Some((i, row.title.as_ref()?))) {
        let wide = 18.0 + text_width(title) + 20.0;
        if x + wide > width && x > LEFT {
            (x, y) = (LEFT, y + LEGEND);
        }
        entries.push(context! { series => colour(series), title, x, y => y + LEGEND });
        x += wide;
    }
    let head = if entries.is_empty() { 0.0 } else { y + LEGEND + 8.0 };
    (entries, head)
}

fn cells(figure: &Figure) -> impl Iterator<Item = &Cell> {
    figure.panels.iter().flat_map(|p| &p.rows).flat_map(|r| &r.cells).flatten()
}

/// Ends of the vertical axis and the distance between its ticks, in percent.
fn percent_range(figure: &Figure) -> (f64, f64, f64) {
    let lo = cells(figure).map(|c| c.interval.lo.min(c.mean)).fold(1.0, f64::min) * 100.0;
    let hi = cells(figure).map(|c| c.interval.hi.max(c.mean)).fold(0.0, f64::max) * 100.0;
    if lo > hi {
        return (0.0, 100.0, 20.0);
    }
    let step = nice(((hi - lo) / 5.0).max(0.2));
    let (lo, hi) = ((lo / step).floor() * step, (hi / step).ceil() * step);
    if hi > lo { (lo, hi, step) } else { (lo - step, hi + step, step) }
}

/// From here on white writing is easier to read on a shade than dark.
const HOT: f64 = 0.75;

/// Height of a cell of a heat map, and of the names above its panel.
const CELL: f64 = 44.0;
const NAMES: f64 = 46.0;

/// A cell for each row and column of the figure, the darker the higher; panels below one another.
pub fn heatmap(figure: &Figure) -> Value {
    let widest = |texts: &mut dyn Iterator<Item = &String>| texts.map(|t| text_width(t)).fold(0.0, f64::max);
    let rows = figure.panels.first().map_or(&[][..], |panel| &panel.rows);
    let names = &mut rows.iter().filter_map(|row| row.title.as_ref()).chain(&figure.row_axis);
    let left = widest(names) + 16.0;
    let cell = (widest(&mut figure.columns.iter().map(|v| &v.title)) + 14.0).max(104.0);
    let lo = cells(figure).map(|c| c.mean).fold(1.0, f64::min);
    let hi = cells(figure).map(|c| c.mean).fold(0.0, f64::max);
    let shade = |mean: f64| if hi > lo { (mean - lo) / (hi - lo) } else { 0.5 };
    let head = if figure.panel_axis.is_some() { 30.0 } else { 4.0 };
    let height = head + NAMES + CELL * rows.len() as f64 + 14.0;
    let right = left + cell * figure.columns.len() as f64;
    let columns = figure.columns.iter().enumerate();
    let columns = columns.map(|(i, v)| context! { title => &v.title, x => left + cell * (i as f64 + 0.5) });
    let panel = |(i, panel): (usize, &FigurePanel)| {
        let top = height * i as f64 + head;
        let rows = panel.rows.iter().enumerate().map(|(r, row)| {
            let cells = row.cells.iter().enumerate().map(|(c, figure)| {
                let shown = figure.as_ref().map(|f| {
                    let share = shade(f.mean);
                    context! { mean => f.mean, interval => format::interval(f.interval), share, hot => share > HOT }
                });
                context! { x => left + cell * c as f64, shown }
            });
            let cells: Vec<Value> = cells.collect();
            context! { title => row.title.clone(), y => top + NAMES + CELL * r as f64, cells }
        });
        context! { title => panel.title.clone(), y => top, rows => rows.collect::<Vec<Value>>() }
    };
    context! {
        title => &figure.title,
        metric => figure.metrics.first().map(|m| m.title),
        row_axis => figure.row_axis.clone(), column_axis => figure.column_axis.clone(),
        columns => columns.collect::<Vec<Value>>(),
        panels => figure.panels.iter().enumerate().map(panel).collect::<Vec<Value>>(),
        left, cell, middle => (left + right) / 2.0,
        width => right.max(text_width(&figure.title)) + 8.0,
        height => height * figure.panels.len() as f64,
    }
}
