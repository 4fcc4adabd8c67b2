//! Where everything stands in a report's plots, in pixels. Templates draw it.

use minijinja::{Value, context};

use super::document::{Report, Task};
use crate::report::{format, scale::nice};

/// Weight of a new value in the smoothed learning curve.
const SMOOTHING: f64 = 0.08;

/// Points of a learning curve; longer ones are averaged in buckets.
const POINTS: usize = 240;

/// Accuracy and its interval for every task and method, as a forest plot with the figures beside it; none without figures.
pub fn overview(report: &Report) -> Option<Value> {
    const LEFT: f64 = 300.0;
    const RIGHT: f64 = 700.0;
    const ROW: f64 = 20.0;
    const GAP: f64 = 12.0;
    const TOP: f64 = 8.0;

    let panels = || report.tasks.iter().flat_map(|t| &t.panels);
    panels().next()?;
    let floor = panels().map(|p| p.interval.lo).chain(report.tasks.iter().map(|t| t.majority_accuracy));
    let lo = (floor.fold(1.0, f64::min) * 10.0).floor() / 10.0;
    let hi = (panels().map(|p| p.interval.hi).fold(0.0, f64::max) * 10.0).ceil() / 10.0;
    let x = |v: f64| LEFT + (v - lo) / (hi - lo).max(0.1) * (RIGHT - LEFT);

    let mut y = TOP;
    let mut tasks = Vec::new();
    for task in &report.tasks {
        let top = y;
        let rows = task.panels.iter().enumerate().map(|(i, panel)| {
            context! {
                title => &panel.title,
                series => panel.series % 6,
                y => top + ROW * i as f64 + ROW / 2.0,
                lo => x(panel.interval.lo),
                hi => x(panel.interval.hi),
                at => x(panel.accuracy),
                figure => format!("{} {}", format::percent(panel.accuracy), format::interval(panel.interval)),
            }
        });
        let rows: Vec<Value> = rows.collect();
        let absent = task.missing.iter().enumerate();
        let absent = absent.map(|(i, title)| context! { title, y => top + ROW * (rows.len() + i) as f64 });
        let absent: Vec<Value> = absent.collect();
        y += ROW * (rows.len() + absent.len()) as f64;
        tasks.push(context! {
            title => &task.task.title, top, bottom => y, rows, absent,
            majority => x(task.majority_accuracy), share => task.majority_accuracy,
        });
        y += GAP;
    }
    let ticks = (lo * 10.0).round() as i64..=(hi * 10.0).round() as i64;
    let ticks: Vec<Value> = ticks.map(|tick| context! { text => tick * 10, x => x(tick as f64 / 10.0) }).collect();
    Some(context! { tasks, ticks, bottom => y, height => format!("{:.0}", y + 22.0) })
}

/// Loss per optimiser step of all trainings of a task; none where there are none.
pub fn losses(task: &Task) -> Option<Value> {
    const LEFT: f64 = 44.0;
    const RIGHT: f64 = 420.0;
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = 196.0;

    if task.curves.is_empty() {
        return None;
    }
    let steps = task.curves.iter().map(|c| c.loss.len()).max().unwrap_or(1);
    let drawn: Vec<_> = task.curves.iter().map(|c| (c, smooth(&c.loss))).collect();
    let top = drawn.iter().flat_map(|(_, s)| s.iter().copied()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let tick = nice(top * 1.08 / 4.0);
    let top = (top * 1.08 / tick).ceil() * tick;
    let x = |step: f64| LEFT + (step - 1.0) / (steps.max(2) - 1) as f64 * (RIGHT - LEFT);
    let y = |loss: f64| BOTTOM - (loss / top).clamp(0.0, 1.0) * (BOTTOM - TOP);

    let decimals = (-tick.log10().floor()).max(0.0) as usize;
    let values = (0..=(top / tick).round() as u32).map(|i| f64::from(i) * tick);
    let values: Vec<Value> = values.map(|v| context! { text => format!("{v:.decimals$}"), y => y(v) }).collect();
    let steps: Vec<Value> = [(1, "start"), (steps.div_ceil(2), "middle"), (steps, "end")]
        .into_iter()
        .map(|(step, anchor)| context! { text => format::count(step as u64), anchor, x => x(step as f64) })
        .collect();
    let points =
        |values: &[f64]| -> Vec<(f64, f64)> { buckets(values).into_iter().map(|(s, v)| (x(s), y(v))).collect() };
    let raw = drawn.iter().map(|(curve, _)| {
        let values: Vec<f64> = curve.loss.iter().map(|l| f64::from(*l)).collect();
        ("raw", *curve, points(&values))
    });
    let paths = raw.chain(drawn.iter().map(|(curve, smoothed)| ("line", *curve, points(smoothed))));
    let paths: Vec<Value> = paths
        .map(|(class, curve, points)| context! { class, series => curve.series % 6, title => &curve.title, points })
        .collect();
    Some(context! { title => &task.task.title, values, steps, paths })
}

/// Exponential moving average, corrected for its start (as Adam corrects its moments).
fn smooth(loss: &[f32]) -> Vec<f64> {
    let (mut average, mut weight) = (0.0, 0.0);
    loss.iter()
        .map(|l| {
            average += SMOOTHING * (f64::from(*l) - average);
            weight += SMOOTHING * (1.0 - weight);
            average / weight
        })
        .collect()
}

/// At most [`POINTS`] points `(step, value)`, steps counted from 1; values that aren't finite are left out.
fn buckets(values: &[f64]) -> Vec<(f64, f64)> {
    let size = values.len().div_ceil(POINTS).max(1);
    let chunks = values.chunks(size).enumerate();
    chunks
        .filter_map(|(i, chunk)| {
            let finite: Vec<f64> = chunk.iter().copied().filter(|v| v.is_finite()).collect();
            let middle = (i * size) as f64 + (chunk.len() + 1) as f64 / 2.0;
            (!finite.is_empty()).then(|| (middle, finite.iter().sum::<f64>() / finite.len() as f64))
        })
        .collect()
}
