//! What a report is made from.

use super::{super::text::on_lines, figure_layout::Axes};
use crate::{
    base::{digest::Digest, error::Result},
    eval::Evaluation,
};

#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub runs: Vec<Run>,
    pub datasets: Vec<DatasetFacts>,
}

impl Evidence {
    /// With all texts on one line each.
    ///
    /// # Errors
    /// If JSON doesn't give a value back.
    pub(super) fn on_lines(&self) -> Result<Self> {
        let run =
            |run: &Run| Ok(Run { evaluation: on_lines(&run.evaluation)?, axes: on_lines(&run.axes)?, ..run.clone() });
        Ok(Self {
            runs: self.runs.iter().map(run).collect::<Result<_>>()?,
            datasets: self.datasets.iter().map(on_lines).collect::<Result<_>>()?,
        })
    }
}

/// One evaluation artifact.
#[derive(Debug, Clone)]
pub struct Run {
    pub digest: Digest,
    pub evaluation: Evaluation,
    pub predictions: Predictions,
    /// As far as the report has figures over axes.
    pub axes: Axes,
}

/// What was answered to each example. Columns of one length, in the order of `ids`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Predictions {
    ids: Vec<String>,
    gold: Vec<u32>,
    predicted: Vec<Option<u32>>,
}

impl Predictions {
    /// Sorts rows `(id, gold, predicted)` by id, so that the runs of a task line up.
    pub fn new(mut rows: Vec<(String, u32, Option<u32>)>) -> Self {
        rows.sort();
        let mut all = Self::default();
        for (id, gold, predicted) in rows {
            all.ids.push(id);
            all.gold.push(gold);
            all.predicted.push(predicted);
        }
        all
    }

    pub fn gold(&self) -> &[u32] {
        &self.gold
    }

    pub fn predicted(&self) -> &[Option<u32>] {
        &self.predicted
    }

    /// Whether both answer the same questions.
    pub fn same_examples(&self, other: &Self) -> bool {
        self.ids == other.ids && self.gold == other.gold
    }
}

/// What a prepared dataset holds, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DatasetFacts {
    pub dataset: String,
    pub scheme: String,
    /// Why the classes are drawn as they are.
    pub scheme_note: Option<String>,
    pub construct: String,
    pub language: String,
    pub license: String,
    pub labels: Vec<String>,
    /// Rows of the files.
    pub rows: u64,
    /// Why rows were left out, and how many; every reason but the limit on a split's size.
    pub removed: Vec<(String, u64)>,
    /// What else there is to say of duplicates.
    pub duplicates: String,
    /// Examples that remained, before a limit on a split's size.
    pub available: u64,
    pub splits: Vec<SplitFacts>,
    /// Files whose pin isn't the card's: local copies, not the canonical bytes.
    pub local: Vec<String>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SplitFacts {
    pub name: String,
    /// Examples per label, in the order of the dataset's labels.
    pub counts: Vec<u64>,
    pub total: u64,
}
