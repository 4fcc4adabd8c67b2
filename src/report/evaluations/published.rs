//! Published figures beside ours, and when the two may be compared.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    super::format,
    layout::{Publication, SplitSizes, TableLayout},
};
use crate::eval::{Evaluation, bootstrap::Interval};

/// A published line; fractions, column by column.
#[derive(Debug, Serialize)]
pub struct Line {
    pub title: String,
    pub cells: Vec<Option<f64>>,
}

/// Ours less the published figure. The published figure is taken as it stands, so the interval is ours, shifted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Gap {
    pub value: f64,
    pub interval: Interval,
}

impl Gap {
    pub fn new(ours: f64, interval: Interval, published: f64) -> Self {
        Self {
            value: ours - published,
            interval: Interval { lo: interval.lo - published, hi: interval.hi - published },
        }
    }
}

/// All published lines of a table, in its order.
pub fn lines(table: &TableLayout) -> Vec<Line> {
    let lines = table.published.iter().map(|row| Line {
        title: row.title.clone(),
        cells: row.values.iter().map(|v| v.map(|percent| percent / 100.0)).collect(),
    });
    lines.collect()
}

/// What was published for a method, column by column.
pub fn of_method<'a>(table: &'a TableLayout, method: &str) -> Option<&'a [Option<f64>]> {
    table.published.iter().find(|row| row.method.as_deref() == Some(method)).map(|row| row.values.as_slice())
}

/// In which ways an evaluation was made otherwise than the published figures; none where the two can be compared.
pub fn obstacles(publication: &Publication, e: &Evaluation) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if e.model.name != publication.model.name {
        found.insert(format!("the backbone is {}, not {}", e.model.title, publication.model.title));
    }
    if publication.files_replaced {
        found.insert(format!("files of {} were replaced by others", publication.model.title));
    }
    if e.answer != publication.answer {
        found.insert(format!("answers are read by `{}`, not by `{}`", e.answer, publication.answer));
    }
    if e.split != "test" {
        found.insert(format!("{} is measured on the {} split", e.task.title, e.split));
    }
    match publication.examples.get(&e.task.name) {
        None => {
            found.insert(format!("nothing is known of the published examples of {}", e.task.title));
        }
        Some(SplitSizes { train, test }) => {
            let trained = e.training.as_ref().map(|t| ("training", t.examples, *train));
            for (what, have, want) in trained.into_iter().chain([("test", e.n as u64, *test)]) {
                if have != want {
                    let (have, want) = (format::count(have), format::count(want));
                    found.insert(format!("{} has {have} {what} examples, not {want}", e.task.title));
                }
            }
        }
    }
    found
}
