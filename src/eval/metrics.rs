//! Classification metrics, defined once.
//!
//! The definitions are scikit-learn's, with its default `zero_division` (an undefined precision, recall or F1 counts as 0):
//!
//! | here | scikit-learn |
//! |---|---|
//! | accuracy | `accuracy_score` |
//! | macro-F1 | `f1_score(average="macro")`: mean over the labels that occur in gold or predicted |
//! | weighted-F1 | `f1_score(average="weighted")`: mean weighted by gold support |
//! | UA | `balanced_accuracy_score`: mean recall over the labels that occur in gold |
//!
//! An unparsable answer is no label: it is wrong, it lowers the recall of its gold label, and it never adds a class of
//! its own to a mean (in scikit-learn: give `labels=` the task's labels that occur).

use serde::{Deserialize, Serialize};

pub use crate::data::metric::Metric;

use crate::base::error::{Error, Result};

/// All figures of one set of predictions. Rates are fractions in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub n: usize,
    pub labels: Vec<String>,
    pub accuracy: f64,
    pub macro_f1: f64,
    pub weighted_f1: f64,
    pub ua: f64,
    /// Accuracy of always answering the most frequent gold label of these examples.
    pub majority_accuracy: f64,
    /// Answers that name no label.
    pub unparsable: u64,
    /// In the order of `labels`.
    pub per_class: Vec<ClassMetrics>,
    /// `[gold][predicted]`; unparsable answers are in no cell, so a row may sum to less than its support.
    pub confusion: Vec<Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassMetrics {
    pub label: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Examples with this gold label.
    pub support: u64,
}

impl Metrics {
    /// Metrics of `predicted` (None: unparsable) against `gold`, both indexes into `labels`.
    ///
    /// # Errors
    /// If there are no examples, the two differ in length, or an index names no label.
    pub fn compute(labels: &[String], gold: &[u32], predicted: &[Option<u32>]) -> Result<Self> {
        let cells = cells(labels.len(), gold, &[predicted])?;
        let counts = Counts::of(labels.len(), cells.iter().map(|c| (c.gold, c.predicted[0])));
        Ok(counts.metrics(labels))
    }

    /// The figure that `metric` names, a fraction in 0..=1.
    pub fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::MacroF1 => self.macro_f1,
            Metric::WeightedF1 => self.weighted_f1,
            Metric::Ua => self.ua,
        }
    }

    /// What always answering the most frequent gold label of these examples scores.
    pub fn majority(&self, metric: Metric) -> f64 {
        let supports: Vec<u64> = self.per_class.iter().map(|c| c.support).collect();
        Counts::constant(&supports).figures()[metric as usize]
    }
}

/// One example, as the metrics see it: its gold label and what each of several sets of predictions says, where the
/// number of labels stands for an unparsable answer.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub gold: usize,
    pub predicted: Vec<usize>,
}

/// Checks labels and lengths once, so that counting can't fail.
///
/// # Errors
/// If there are no examples, lengths differ, or an index names no label.
pub(super) fn cells(labels: usize, gold: &[u32], predictions: &[&[Option<u32>]]) -> Result<Vec<Cell>> {
    if gold.is_empty() {
        return Err(Error::input("there are no examples to score").help("check the split's size in the dataset card"));
    }
    if let Some(p) = predictions.iter().find(|p| p.len() != gold.len()) {
        return Err(Error::input(format!("{} predictions for {} examples", p.len(), gold.len())));
    }
    let index = |label: u32, what: &str, row: usize| {
        let i = label as usize;
        (i < labels).then_some(i).ok_or_else(|| {
            Error::input(format!("example {row}: {what} label {label} is outside the {labels} labels of the task"))
        })
    };
    gold.iter()
        .enumerate()
        .map(|(row, &g)| {
            let predicted = predictions
                .iter()
                .map(|p| p[row].map_or(Ok(labels), |label| index(label, "predicted", row)))
                .collect::<Result<_>>()?;
            Ok(Cell { gold: index(g, "gold", row)?, predicted })
        })
        .collect()
}

/// Sufficient statistics of all metrics: `[gold][predicted]`, with a last column for unparsable answers.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    labels: usize,
    table: Vec<u64>,
}

impl Counts {
    /// No examples yet.
    pub(super) fn new(labels: usize) -> Self {
        Self { labels, table: vec![0; labels * (labels + 1)] }
    }

    /// Counts of `(gold, predicted)`.
    pub(super) fn of(labels: usize, cells: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut counts = Self::new(labels);
        for (gold, predicted) in cells {
            counts.add(gold, predicted);
        }
        counts
    }

    /// The most frequent label (the first of equals) is always predicted.
    fn constant(supports: &[u64]) -> Self {
        let most = supports.iter().copied().max().unwrap_or(0);
        let answer = supports.iter().position(|s| *s == most).unwrap_or(0);
        let mut counts = Self::new(supports.len());
        for (gold, support) in supports.iter().enumerate() {
            counts.table[gold * (supports.len() + 1) + answer] = *support;
        }
        counts
    }

    /// One example more.
    pub(super) fn add(&mut self, gold: usize, predicted: usize) {
        self.table[gold * (self.labels + 1) + predicted] += 1;
    }

    /// No examples again.
    pub(super) fn clear(&mut self) {
        self.table.fill(0);
    }

    fn at(&self, gold: usize, predicted: usize) -> u64 {
        self.table[gold * (self.labels + 1) + predicted]
    }

    fn support(&self, label: usize) -> u64 {
        (0..=self.labels).map(|p| self.at(label, p)).sum()
    }

    fn predicted(&self, label: usize) -> u64 {
        (0..self.labels).map(|g| self.at(g, label)).sum()
    }

    fn total(&self) -> u64 {
        self.table.iter().sum()
    }

    fn hits(&self) -> u64 {
        (0..self.labels).map(|c| self.at(c, c)).sum()
    }

    fn recall(&self, label: usize) -> f64 {
        ratio(self.at(label, label), self.support(label))
    }

    /// F1 = 2 TP / (2 TP + FP + FN), which is 0 rather than undefined where only TP is 0.
    fn f1(&self, label: usize) -> f64 {
        ratio(2 * self.at(label, label), self.support(label) + self.predicted(label))
    }

    /// The figure that `metric` names, in [`Metric::ALL`]'s order.
    pub(super) fn figures(&self) -> [f64; 4] {
        let n = self.total();
        let (mut f1, mut f1_classes, mut weighted, mut recall, mut recall_classes) = (0.0, 0, 0.0, 0.0, 0);
        for c in 0..self.labels {
            let support = self.support(c);
            let f = self.f1(c);
            if support + self.predicted(c) > 0 {
                f1 += f;
                f1_classes += 1;
            }
            if support > 0 {
                weighted += f * support as f64;
                recall += self.recall(c);
                recall_classes += 1;
            }
        }
        [ratio(self.hits(), n), mean(f1, f1_classes), weighted / n.max(1) as f64, mean(recall, recall_classes)]
    }

    fn metrics(&self, labels: &[String]) -> Metrics {
        let [accuracy, macro_f1, weighted_f1, ua] = self.figures();
        let n = self.total();
        let per_class = labels
            .iter()
            .enumerate()
            .map(|(c, label)| ClassMetrics {
                label: label.clone(),
                precision: ratio(self.at(c, c), self.predicted(c)),
                recall: self.recall(c),
                f1: self.f1(c),
                support: self.support(c),
            })
            .collect();
        Metrics {
            n: n as usize,
            labels: labels.to_vec(),
            accuracy,
            macro_f1,
            weighted_f1,
            ua,
            majority_accuracy: ratio((0..self.labels).map(|c| self.support(c)).max().unwrap_or(0), n),
            unparsable: (0..self.labels).map(|g| self.at(g, self.labels)).sum(),
            per_class,
            confusion: (0..self.labels).map(|g| (0..self.labels).map(|p| self.at(g, p)).collect()).collect(),
        }
    }
}

/// 0 where it is undefined: scikit-learn's default.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} != {b}");
    }

    const GOLD: [u32; 20] = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0, 1, 2, 0, 2];
    /// 9: unparsable.
    const PREDICTED: [u32; 20] = [0, 0, 1, 0, 9, 1, 2, 1, 2, 2, 2, 0, 2, 9, 2, 0, 1, 2, 1, 2];

    fn predicted() -> Vec<Option<u32>> {
        PREDICTED.iter().map(|p| (*p != 9).then_some(*p)).collect()
    }

    /// Against scikit-learn 1.9.1, with the unparsable answer as a label outside `labels=`.
    #[test]
    fn equals_scikit_learn_with_unparsable_answers_and_an_absent_class() {
        let m = Metrics::compute(&labels(&["neg", "neu", "pos", "never"]), &GOLD, &predicted()).unwrap();
        close(m.accuracy, 0.7);
        close(m.macro_f1, 0.7189542483660131);
        close(m.weighted_f1, 0.7372549019607841);
        close(m.ua, 0.6997354497354498);
        let expected = [
            (0.8, 0.5714285714285714, 0.6666666666666666, 7),
            (0.6, 0.75, 0.6666666666666666, 4),
            (0.875, 0.7777777777777778, 0.8235294117647058, 9),
            (0.0, 0.0, 0.0, 0),
        ];
        for (class, (precision, recall, f1, support)) in m.per_class.iter().zip(expected) {
            close(class.precision, precision);
            close(class.recall, recall);
            close(class.f1, f1);
            assert_eq!(class.support, support);
        }
        assert_eq!(m.confusion, [[4, 2, 0, 0], [0, 3, 1, 0], [1, 0, 7, 0], [0, 0, 0, 0]]);
        assert_eq!((m.n, m.unparsable), (20, 2));
        close(m.majority_accuracy, 9.0 / 20.0);
        close(m.majority(Metric::Accuracy), 9.0 / 20.0);
        close(m.majority(Metric::MacroF1), 2.0 * 9.0 / 29.0 / 3.0);
        close(m.majority(Metric::WeightedF1), 9.0 / 20.0 * 18.0 / 29.0);
        close(m.majority(Metric::Ua), 1.0 / 3.0);
        for (metric, value) in Metric::ALL.iter().zip([m.accuracy, m.macro_f1, m.weighted_f1, m.ua]) {
            close(m.get(*metric), value);
        }
    }

    /// Against scikit-learn 1.9.1: a class that is predicted and never gold counts in macro-F1 and not in UA.
    #[test]
    fn equals_scikit_learn_where_a_class_is_only_predicted() {
        let predicted = [0, 2, 1, 2, 0].map(Some);
        let m = Metrics::compute(&labels(&["a", "b", "c"]), &[0, 0, 1, 1, 1], &predicted).unwrap();
        close(m.accuracy, 0.4);
        close(m.macro_f1, 1.0 / 3.0);
        close(m.weighted_f1, 0.5);
        close(m.ua, 0.41666666666666663);
    }

    #[test]
    fn nothing_parsable_is_all_wrong() {
        let m = Metrics::compute(&labels(&["a", "b"]), &[0, 1, 1], &[None; 3]).unwrap();
        assert_eq!((m.accuracy, m.macro_f1, m.weighted_f1, m.ua, m.unparsable), (0.0, 0.0, 0.0, 0.0, 3));
    }

    #[test]
    fn bad_predictions_are_named() {
        let two = labels(&["a", "b"]);
        let error =
            |gold: &[u32], predicted: &[Option<u32>]| Metrics::compute(&two, gold, predicted).unwrap_err().message;
        assert!(error(&[], &[]).contains("no examples"));
        assert!(error(&[0, 1], &[Some(0)]).contains("1 predictions for 2 examples"));
        assert!(error(&[0, 1], &[Some(0), Some(2)]).contains("example 1: predicted label 2"));
        assert!(error(&[0, 7], &[Some(0), None]).contains("gold label 7"));
    }

    #[test]
    fn survives_json() {
        let m = Metrics::compute(&labels(&["neg", "neu", "pos", "never"]), &GOLD, &predicted()).unwrap();
        let text = serde_json::to_string(&m).unwrap();
        assert_eq!(serde_json::from_str::<Metrics>(&text).unwrap(), m);
    }
}
