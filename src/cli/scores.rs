//! How good results are, in a few words: what an evaluation's `metrics.json` says.

use std::{fs, sync::Arc};

use crate::{
    base::digest::Digest,
    eval::{Evaluation, metrics::Metric},
    stages,
    store::Store,
};

/// Figures that fit into a line.
const SHOWN: [Metric; 2] = [Metric::Accuracy, Metric::MacroF1];

/// More lines are a report's business.
const MOST: usize = 24;

/// The results of a run that are evaluations.
#[derive(Default)]
pub struct Scores {
    store: Option<Arc<Store>>,
    /// Action, and the file with its figures.
    found: Vec<(String, Digest)>,
}

impl Scores {
    pub fn of(store: &Arc<Store>) -> Self {
        Self { store: Some(Arc::clone(store)), found: Vec::new() }
    }

    /// Notes the result of an action; its figures, where it has some.
    pub fn note(&mut self, action: &str, key: &Digest) -> Option<()> {
        let known = self.store.as_ref()?.known(key)?;
        let files = &known.results.first()?.files;
        let file = files.iter().find(|file| file.name == stages::METRICS_FILE)?;
        self.found.push((action.to_owned(), file.digest));
        Some(())
    }

    /// What the result that was noted last says.
    pub fn last(&self) -> Option<String> {
        self.read(&self.found.last()?.1)
    }

    fn read(&self, file: &Digest) -> Option<String> {
        let evaluation = fs::read(self.store.as_ref()?.blob(file)).ok()?;
        let evaluation: Evaluation = serde_json::from_slice(&evaluation).ok()?;
        let figure = |m: Metric| format!("{} {:.2} %", m.name(), 100.0 * evaluation.metrics.get(m));
        Some(format!("{} ({} examples)", SHOWN.map(figure).join(", "), evaluation.n))
    }

    /// A line for each, and how many more there are.
    pub fn lines(&self) -> Vec<String> {
        let line = |(action, file): &(String, Digest)| Some(format!("{action}: {}", self.read(file)?));
        let mut found = self.found.clone();
        found.sort();
        let mut lines: Vec<String> = found.iter().take(MOST).filter_map(line).collect();
        if let Some(more) = found.len().checked_sub(MOST).filter(|n| *n > 0) {
            lines.push(format!("and {more} more evaluations; the report has all"));
        }
        lines
    }
}
