//! Markdown, as GitHub shows it and as it reads in a terminal.

use minijinja::{context, value::Serde};

use super::{
    evaluations::{Cell, Contrast, Report, Table, Verdict, seed_text},
    format::{self, MISSING, UNPUBLISHED},
    published::Gap,
    template,
    text::markdown_cell,
};
use crate::{
    base::error::{Error, Result},
    eval::metrics::Metric,
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with columns padded to one width.
pub(super) fn aligned(header: &[String], align: &[Align], rows: &[Vec<String>]) -> String {
    let escape = |cells: &[String]| -> Vec<String> { cells.iter().map(|c| markdown_cell(c)).collect() };
    let (header, rows): (_, Vec<_>) = (escape(header), rows.iter().map(|r| escape(r)).collect());
    let width = |column: usize| {
        let cells = std::iter::once(&header).chain(&rows).filter_map(|r| r.get(column));
        cells.map(|c| c.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).zip(align).map(|((cell, &width), align)| match align {
            Align::Left => format!(" {cell:<width$} "),
            Align::Right => format!(" {cell:>width$} "),
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().zip(align).map(|(width, align)| match align {
        Align::Left => "-".repeat(width + 2),
        Align::Right => format!("{}:", "-".repeat(width + 1)),
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    std::iter::once(line(&header)).chain([rule]).chain(rows.iter().map(|r| line(r))).collect()
}

fn strings<const N: usize>(items: [&str; N]) -> Vec<String> {
    items.map(str::to_owned).into()
}

fn cell(cell: Option<&Cell>) -> String {
    let Some(cell) = cell else { return format!("_{MISSING}_") };
    let figure = format::percent(cell.mean);
    let figure = if cell.best { format!("**{figure}**") } else { figure };
    let deviation = cell.deviation.map(|d| format!(" ± {}", format::percent(d))).unwrap_or_default();
    format!("{figure}{deviation} {}", format::interval(cell.interval))
}

/// The table and the lines below it, without a heading.
fn table(table: &Table) -> String {
    let columns = table.tasks.iter().flat_map(|t| t.metrics.iter().map(move |m| format!("{} {}", t.title, m.title)));
    let header: Vec<String> = std::iter::once("Method".to_owned()).chain(columns).collect();
    let line = |title: String, cells: Vec<String>| std::iter::once(title).chain(cells).collect::<Vec<String>>();
    let published = table.published.iter().map(|row| {
        let figure = |f: &Option<f64>| f.map_or(UNPUBLISHED.to_owned(), format::percent);
        line(format!("{} _(published)_", row.title), row.cells.iter().map(figure).collect())
    });
    let mut rows: Vec<Vec<String>> = published.collect();
    for row in &table.rows {
        rows.push(line(row.title.clone(), row.cells.iter().map(|c| cell(c.as_ref())).collect()));
        if !row.gaps.is_empty() {
            let gap = |g: &Option<Gap>| {
                g.map_or(UNPUBLISHED.to_owned(), |g| {
                    format!("{} {}", format::points(g.value), format::difference_interval(g.interval))
                })
            };
            rows.push(line(format!("{}, _ours − published_", row.title), row.gaps.iter().map(gap).collect()));
        }
    }
    if table.majority.iter().any(Option::is_some) {
        let figures =
            table.majority.iter().map(|f| f.map_or(MISSING.to_owned(), |f| format!("_{}_", format::percent(f))));
        rows.push(std::iter::once("_most frequent class_".to_owned()).chain(figures).collect());
    }
    let align: Vec<Align> = (0..header.len()).map(|i| if i == 0 { Align::Left } else { Align::Right }).collect();
    let mut out = aligned(&header, &align, &rows);
    out.push('\n');
    for line in &table.basis {
        out.push_str(&format!("- {line}\n"));
    }
    if !table.missing.is_empty() {
        out.push_str(&format!("- Missing (no evaluation reached this report): {}.\n", table.missing.join("; ")));
    }
    out
}

/// A table's own file: the table, and the evaluations behind it.
pub(super) fn table_page(of: &Table) -> String {
    let mut out = format!("# {}\n\nPercent; the best figure of a column is bold.\n\n{}", of.title, table(of));
    if !of.sources.is_empty() {
        let header = strings(["Task", "Method", "Seed", "Evaluation artifact"]);
        let rows: Vec<Vec<String>> = of
            .sources
            .iter()
            .map(|s| vec![s.task.clone(), s.method.clone(), seed_text(s.seed), format!("`{}`", &s.digest[..12])])
            .collect();
        let align = [Align::Left, Align::Left, Align::Right, Align::Left];
        out.push_str(&format!("\n## Evaluations behind this table\n\n{}", aligned(&header, &align, &rows)));
    }
    out
}

fn contrasts(report: &Report) -> String {
    let header = strings(["Task", "Method", "Δ Accuracy", "p (McNemar)", "Δ Macro-F1", "p (bootstrap)", "Verdict"]);
    let difference = |d: &crate::eval::significance::Difference| {
        format!("{} {}", format::points(d.value), format::difference_interval(d.interval))
    };
    let rows: Vec<Vec<String>> = report
        .contrasts
        .iter()
        .map(|c| {
            let mut row = vec![c.task.title.clone(), contrast_method(c)];
            match &c.tests {
                Some(o) => row.extend([
                    difference(&o.accuracy),
                    format::p_value(o.accuracy_p),
                    difference(&o.macro_f1),
                    format::p_value(o.macro_f1_p),
                ]),
                None => row.extend(std::iter::repeat_n(format!("_{MISSING}_"), 4)),
            }
            row.push(c.verdict.text().to_owned());
            row
        })
        .collect();
    use Align::{Left, Right};
    aligned(&header, &[Left, Left, Right, Right, Right, Right, Left], &rows)
}

pub(super) fn contrast_method(c: &Contrast) -> String {
    c.model.as_ref().map_or_else(|| c.method.title.clone(), |model| format!("{model} ({})", c.method.title))
}

/// One line for each contrast that the baseline wins or draws.
pub(super) fn setbacks(report: &Report) -> Vec<String> {
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
pub(super) fn verdict_lines(report: &Report) -> Vec<String> {
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

fn datasets(report: &Report) -> String {
    let sections = report.datasets.iter().map(|d| {
        let header: Vec<String> =
            std::iter::once("Split".to_owned()).chain(d.labels.iter().cloned()).chain(["Total".to_owned()]).collect();
        let rows: Vec<Vec<String>> = d
            .splits
            .iter()
            .map(|s| {
                let counts = s.counts.iter().chain([&s.total]).map(|n| format::count(*n));
                std::iter::once(s.name.clone()).chain(counts).collect()
            })
            .collect();
        let align: Vec<Align> = (0..header.len()).map(|i| if i == 0 { Align::Left } else { Align::Right }).collect();
        let mut out = format!("### {} ({})\n\n{}\n", d.dataset, d.scheme, aligned(&header, &align, &rows));
        for line in dataset_lines(d) {
            out.push_str(&format!("- {line}\n"));
        }
        out
    });
    sections.collect::<Vec<_>>().join("\n")
}

/// Everything about a dataset that isn't a count per split and class.
pub(super) fn dataset_lines(d: &super::DatasetFacts) -> Vec<String> {
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

fn choices(report: &Report) -> String {
    let rows: Vec<Vec<String>> =
        report.choices.iter().map(|c| vec![format!("`{}`", c.path), c.value.clone(), c.reason.clone()]).collect();
    aligned(&strings(["Setting", "Value", "Where it comes from"]), &[Align::Left; 3], &rows)
}

/// The index of the report.
pub(super) fn readme(report: &Report) -> Result<String> {
    let env = template::environment()?;
    let tables: Vec<_> =
        report.tables.iter().map(|t| context! { name => &t.name, title => &t.title, body => table(t) }).collect();
    env.render_named_str(
        "README.md",
        include_str!("templates/README.md.j2"),
        context! {
            report => Serde(report),
            tables,
            contrasts => contrasts(report),
            setbacks => setbacks(report),
            verdicts => verdict_lines(report),
            datasets => datasets(report),
            choices => choices(report),
            resamples => format::count(report.resamples.into()),
            compared => !report.contrasts.is_empty(),
            evaluations => format::plural(report.results.len(), "evaluation"),
        },
    )
    .map_err(|e| Error::internal(format!("README.md: {e:#}")))
}
