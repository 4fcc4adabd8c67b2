//! Tasks: a dataset under one of its label schemes, and how the model is asked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{diagnose::diagnostic, metric::Metric, prompt::default_words, split::Split};
use crate::config::{Diagnostic, Node};

/// A task, `[task.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The task's name in tables.
    pub title: String,
    /// Name of a dataset card.
    pub dataset: String,
    /// Name of one of the card's label schemes.
    pub scheme: String,
    /// What the model answers for a class. Left out: the class's name with a capital.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// How many examples of each split to use at most.
    #[serde(default)]
    pub limit: Limit,
    /// Which figures the tables show.
    #[serde(default = "default_metrics")]
    pub metrics: Vec<Metric>,
    /// The instruction before every sentence. Left out: the paper's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
}

fn default_metrics() -> Vec<Metric> {
    vec![Metric::Accuracy, Metric::MacroF1]
}

/// At most so many examples of a split. They are a random sample by the hash of their text, and a smaller limit's examples
/// are among a larger one's. 0 leaves the split out; without a limit all are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<u32>,
}

impl Limit {
    /// The limit of a split; none: all its examples.
    pub fn of(&self, split: Split) -> Option<u32> {
        match split {
            Split::Train => self.train,
            Split::Dev => self.dev,
            Split::Test => self.test,
        }
    }
}

impl Task {
    /// What the model answers, class by class in the order of `labels`.
    pub fn answers(&self, labels: &[String]) -> Vec<String> {
        labels.iter().map(|label| self.words.get(label).cloned().unwrap_or_else(|| default_words(label))).collect()
    }

    /// What is wrong with the task under a scheme with these classes; `node` is where it is written.
    pub(super) fn diagnostics(&self, node: &Node, labels: &[String]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for label in self.words.keys().filter(|label| !labels.contains(label)) {
            found.push(
                diagnostic(node, ["words"], format!("`{label}` is no class of scheme `{}`", self.scheme))
                    .help(format!("classes: {}", labels.join(", "))),
            );
        }
        let answers = self.answers(labels);
        for (i, answer) in answers.iter().enumerate() {
            let fold = |word: &str| word.trim().to_lowercase();
            if answer.trim().is_empty() {
                found.push(diagnostic(node, ["words"], format!("the model can't answer `{}` with nothing", labels[i])));
            } else if let Some(j) = answers[..i].iter().position(|other| fold(other) == fold(answer)) {
                found.push(diagnostic(
                    node,
                    ["words"],
                    format!("`{}` and `{}` have the same answer `{answer}`", labels[j], labels[i]),
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::diagnose::nowhere;

    fn task(words: &[(&str, &str)]) -> Task {
        Task {
            title: "T".into(),
            dataset: "d".into(),
            scheme: "2".into(),
            words: words.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            limit: Limit::default(),
            metrics: default_metrics(),
            instruction: None,
        }
    }

    #[test]
    fn answers_follow_the_order_of_the_classes() {
        let labels = ["neg", "pos"].map(String::from);
        assert_eq!(task(&[("pos", "good")]).answers(&labels), ["Neg", "good"]);
        assert!(task(&[("pos", "good")]).diagnostics(&nowhere(), &labels).is_empty());
    }

    #[test]
    fn words_for_unknown_classes_and_equal_answers_are_found() {
        let labels = ["neg", "pos"].map(String::from);
        let found = task(&[("poss", "good"), ("pos", "Neg ")]).diagnostics(&nowhere(), &labels);
        assert!(found[0].message.contains("`poss` is no class"), "{found:?}");
        assert!(found[1].message.contains("same answer"), "{found:?}");
    }
}
