//! Plots as inline SVG. Colours come from the page's style sheet by class, so that they follow light and dark.

use std::fmt::Write;

use minijinja::HtmlEscape;

use super::{
    evaluations::{Report, Task},
    format::{self, MISSING},
};

/// Weight of a new value in the smoothed learning curve.
const SMOOTHING: f64 = 0.08;

/// Points of a learning curve; longer ones are averaged in buckets.
const POINTS: usize = 240;

/// Accuracy and its interval for every task and method, as a forest plot with the figures beside it.
pub(super) fn overview(report: &Report) -> String {
    const WIDTH: f64 = 860.0;
    const LEFT: f64 = 300.0;
    const RIGHT: f64 = 700.0;
    const ROW: f64 = 20.0;
    const GAP: f64 = 12.0;
    const TOP: f64 = 8.0;

    let panels = || report.tasks.iter().flat_map(|t| &t.panels);
    if panels().next().is_none() {
        return String::new();
    }
    let floor = panels().map(|p| p.interval.lo).chain(report.tasks.iter().map(|t| t.majority_accuracy));
    let lo = (floor.fold(1.0, f64::min) * 10.0).floor() / 10.0;
    let hi = (panels().map(|p| p.interval.hi).fold(0.0, f64::max) * 10.0).ceil() / 10.0;
    let x = |v: f64| LEFT + (v - lo) / (hi - lo).max(0.1) * (RIGHT - LEFT);

    let mut body = String::new();
    let mut y = TOP;
    for task in &report.tasks {
        let height = ROW * (task.panels.len() + task.missing.len()) as f64;
        let majority = x(task.majority_accuracy);
        let _ = write!(
            body,
            r#"<text class="task" x="0" y="{:.1}">{}</text><line class="majority" x1="{majority:.1}" x2="{majority:.1}" y1="{y:.1}" y2="{:.1}"><title>{}: most frequent class {}</title></line>"#,
            y + 14.0,
            HtmlEscape(&task.task.title),
            y + height,
            HtmlEscape(&task.task.title),
            format::percent(task.majority_accuracy)
        );
        for panel in &task.panels {
            let middle = y + ROW / 2.0;
            let _ = write!(
                body,
                r#"<g class="s{}"><text x="150" y="{:.1}">{}</text><line class="ci" x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/><circle cx="{:.1}" cy="{middle:.1}" r="4.5"/><text class="figure" x="{WIDTH}" y="{:.1}">{} {}</text></g>"#,
                panel.series % 6,
                middle + 4.0,
                HtmlEscape(&panel.title),
                x(panel.interval.lo),
                x(panel.interval.hi),
                x(panel.accuracy),
                middle + 4.0,
                format::percent(panel.accuracy),
                format::interval(panel.interval)
            );
            y += ROW;
        }
        for title in &task.missing {
            let _ = write!(
                body,
                r#"<text class="absent" x="150" y="{:.1}">{}</text><text class="figure absent" x="{WIDTH}" y="{:.1}">{MISSING}</text>"#,
                y + 14.0,
                HtmlEscape(title),
                y + 14.0
            );
            y += ROW;
        }
        y += GAP;
    }
    let mut axis = String::new();
    for tick in ((lo * 10.0).round() as i64)..=((hi * 10.0).round() as i64) {
        let at = x(tick as f64 / 10.0);
        let _ = write!(
            axis,
            r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="0" y2="{y:.1}"/><text class="tick" x="{at:.1}" y="{:.1}">{}</text>"#,
            y + 16.0,
            tick * 10
        );
    }
    format!(
        r#"<svg class="overview" viewBox="0 0 {WIDTH} {:.0}" role="img" aria-label="Accuracy in percent by task and method, with confidence intervals">{axis}{body}</svg>"#,
        y + 22.0
    )
}

/// Loss per optimiser step of all trainings of a task; empty where there are none.
pub(super) fn curves(task: &Task) -> String {
    const WIDTH: f64 = 430.0;
    const HEIGHT: f64 = 230.0;
    const LEFT: f64 = 44.0;
    const RIGHT: f64 = 420.0;
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = 196.0;

    if task.curves.is_empty() {
        return String::new();
    }
    let steps = task.curves.iter().map(|c| c.loss.len()).max().unwrap_or(1);
    let drawn: Vec<_> = task.curves.iter().map(|c| (c, smooth(&c.loss))).collect();
    let top = drawn.iter().flat_map(|(_, s)| s.iter().copied()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let tick = nice(top * 1.08 / 4.0);
    let top = (top * 1.08 / tick).ceil() * tick;
    let x = |step: f64| LEFT + (step - 1.0) / (steps.max(2) - 1) as f64 * (RIGHT - LEFT);
    let y = |loss: f64| BOTTOM - (loss / top).clamp(0.0, 1.0) * (BOTTOM - TOP);

    let mut out = String::new();
    let decimals = (-tick.log10().floor()).max(0.0) as usize;
    for i in 0..=(top / tick).round() as u32 {
        let value = f64::from(i) * tick;
        let at = y(value);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}"/><text class="tick y" x="{:.1}" y="{:.1}">{value:.decimals$}</text>"#,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (step, anchor) in [(1, "start"), (steps.div_ceil(2), "middle"), (steps, "end")] {
        let _ = write!(
            out,
            r#"<text class="tick" style="text-anchor:{anchor}" x="{:.1}" y="{:.1}">{}</text>"#,
            x(step as f64),
            BOTTOM + 16.0,
            format::count(step as u64)
        );
    }
    let _ = write!(
        out,
        r#"<text class="tick" x="{:.1}" y="{:.1}">optimiser step</text>"#,
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 31.0
    );
    let path = |values: &[f64]| {
        let mut d = String::new();
        for (step, value) in buckets(values) {
            let _ = write!(d, "{}{:.1} {:.1}", if d.is_empty() { "M" } else { "L" }, x(step), y(value));
        }
        d
    };
    for (class, raw) in [("raw", true), ("line", false)] {
        for (curve, smoothed) in &drawn {
            let values: Vec<f64> =
                if raw { curve.loss.iter().map(|l| f64::from(*l)).collect() } else { smoothed.clone() };
            let _ = write!(
                out,
                r#"<path class="{class} s{}" d="{}"><title>{}</title></path>"#,
                curve.series % 6,
                path(&values),
                HtmlEscape(&curve.title)
            );
        }
    }
    let label = format!("{}: training loss per optimiser step", task.task.title);
    format!(
        r#"<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">{out}</svg>"#,
        HtmlEscape(&label)
    )
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

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn nice(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let multiple = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    multiple * power
}
