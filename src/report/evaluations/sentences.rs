//! Sentences about comparisons and datasets, as every format shows them.

use super::{
    super::format::{self, MISSING},
    document::{Contrast, Report, Verdict},
    evidence::DatasetFacts,
    figure_document::Figure,
};
use crate::eval::metrics::Metric;

pub fn contrast_method(c: &Contrast) -> String {
    c.model.as_ref().map_or_else(|| c.method.title.clone(), |model| format!("{model} ({})", c.method.title))
}

/// One line for each contrast that the baseline wins or draws.
pub fn setbacks(report: &Report) -> Vec<String> {
    let lost = report.contrasts.iter().filter(|c| matches!(c.verdict, Verdict::NotBetter | Verdict::Worse));
    lost.filter_map(|c| {
        let o = c.tests.as_ref()?;
        let figures = [(Metric::Accuracy, &o.accuracy, o.accuracy_p), (Metric::MacroF1, &o.macro_f1, o.macro_f1_p)];
        let figures = figures.into_iter().filter(|(m, ..)| o.behind_in.contains(&m.title()));
        let figures = figures.map(|(m, d, p)| {
            let equals = if p < 0.001 { "" } else { "= " };
            format!(
                "{} {} {} (p {equals}{})",
                m.title(),
                format::points(d.value),
                format::difference_interval(d.interval),
                format::p_value(p)
            )
        });
        let figures: Vec<_> = figures.collect();
        let verdict = if c.verdict == Verdict::Worse { ", a significant loss" } else { "" };
        Some(format!("{} on {}: {}{verdict}", contrast_method(c), c.task.title, format::list(&figures)))
    })
    .collect()
}

/// One sentence per adapted method.
pub fn verdict_lines(report: &Report) -> Vec<String> {
    let lines = report.verdicts.iter().map(|v| {
        if v.of == 0 {
            return format!("{}: no comparison could be made", v.method.title);
        }
        let missing = if v.missing > 0 { format!("; {MISSING}: {}", v.missing) } else { String::new() };
        format!(
            "{}: better on {} of {}; ahead without significance on {}; not better on {}{missing}",
            v.method.title,
            v.better,
            format::plural(v.of, "task"),
            v.unproven,
            v.not_better
        )
    });
    lines.collect()
}

/// Everything about a dataset that isn't a count per split and class.
pub fn dataset_lines(d: &DatasetFacts) -> Vec<String> {
    let mut lines = vec![format!("Labels measure {}. Language: {}. License: {}.", d.construct, d.language, d.license)];
    lines.extend(d.scheme_note.clone());
    let removed: Vec<_> = d.removed.iter().map(|(reason, n)| format!("{} {reason}", format::count(*n))).collect();
    let removed = if removed.is_empty() { "none".to_owned() } else { removed.join(", ") };
    lines.push(format!(
        "{} in the files; left out: {removed}; {} remain, of which the table counts those used.",
        format::plural(d.rows as usize, "row"),
        format::count(d.available)
    ));
    if !d.duplicates.is_empty() {
        lines.push(d.duplicates.clone());
    }
    if !d.local.is_empty() {
        let files: Vec<String> = d.local.iter().map(|f| format!("`{f}`")).collect();
        lines.push(format!("Local copy, not the canonical bytes: {}.", format::list(&files)));
    }
    lines.extend(d.notes.iter().cloned());
    lines
}

/// What the figures of a table, curves or a heat map over axes are.
pub fn figure_lines(figure: &Figure) -> Vec<String> {
    let metrics: Vec<&str> = figure.metrics.iter().map(|m| m.title).collect();
    let mut lines = vec![format!("{} in percent.", format::list(&metrics))];
    if let Some(bootstrap) = figure.bootstrap {
        lines[0].push_str(&format!(
            " Brackets: {}% confidence interval, percentile bootstrap over the test examples ({} resamples). With several seeds \
             a figure is their mean, and ± their sample deviation.",
            (bootstrap.level * 100.0).round(),
            format::count(bootstrap.samples.into())
        ));
    }
    if !figure.fixed.is_empty() {
        lines.push(format!("Only evaluations with {}.", format::list(&figure.fixed)));
    }
    if figure.without_axis > 0 {
        let axes = [&figure.panel_axis, &figure.row_axis, &figure.column_axis].into_iter().flatten();
        let axes: Vec<String> = axes.map(|axis| format!("`{axis}`")).collect();
        let evaluations = format::plural(figure.without_axis, "evaluation");
        lines.push(format!("Not shown: {evaluations} without a value for each of {}.", format::list(&axes)));
    }
    lines
}
