//! CSV. Figures are fractions with six decimals; what is missing is `NA`.

use ::csv::Writer;

use super::build::{Report, Table, seed_text};
use crate::{
    error::{Error, Result},
    eval::metrics::Metric,
};

pub(super) const NA: &str = "NA";

fn number(x: f64) -> String {
    format!("{:.6}", x + 0.0)
}

pub(super) fn write(rows: impl IntoIterator<Item = Vec<String>>) -> Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).map_err(Error::internal)?;
    }
    let bytes = writer.into_inner().map_err(Error::internal)?;
    String::from_utf8(bytes).map_err(Error::internal)
}

/// One row per method; for each task its examples and seeds, and for each metric the mean, the ends of its interval and
/// the deviation over seeds.
pub(super) fn table(table: &Table) -> Result<String> {
    let mut header = vec!["model".to_owned(), "method".to_owned()];
    for task in &table.tasks {
        header.extend(["n", "seeds"].map(|c| format!("{}.{c}", task.name)));
        for metric in &table.metrics {
            header.extend(["", ".lo", ".hi", ".deviation"].map(|c| format!("{}.{}{c}", task.name, metric.name)));
        }
    }
    let width = table.metrics.len();
    let rows = table.rows.iter().map(|row| {
        let mut out = vec![row.model.clone().unwrap_or_else(|| NA.to_owned()), row.method.clone()];
        for cells in row.cells.chunks(width) {
            match cells.first() {
                Some(Some(first)) => out.extend([first.n.to_string(), first.seeds.to_string()]),
                _ => out.extend([NA.to_owned(), "0".to_owned()]),
            }
            for cell in cells {
                match cell {
                    Some(c) => out.extend([
                        number(c.mean),
                        number(c.interval.lo),
                        number(c.interval.hi),
                        c.deviation.map_or(NA.to_owned(), number),
                    ]),
                    None => out.extend([NA; 4].map(str::to_owned)),
                }
            }
        }
        out
    });
    write(std::iter::once(header).chain(rows))
}

/// One row per evaluation and metric.
pub(super) fn results(report: &Report) -> Result<String> {
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
    let rows = report.results.iter().flat_map(|row| {
        let e = &row.evaluation;
        Metric::ALL.into_iter().map(move |metric| {
            let interval = e.intervals.get(metric);
            vec![
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
            ]
        })
    });
    write(std::iter::once(header.map(str::to_owned).to_vec()).chain(rows))
}
