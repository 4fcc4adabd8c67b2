//! Counts that a card asserts, and what comes of it where they aren't met.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::split::Split;
use crate::base::error::{Error, Result};

/// A number of rows; a list where copies of different sizes are in use, each of which is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Count {
    One(u64),
    AnyOf(Vec<u64>),
}

impl Count {
    fn allows(&self, found: u64) -> bool {
        match self {
            Self::One(n) => *n == found,
            Self::AnyOf(some) => some.contains(&found),
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::One(0)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(n) => f.pad(&n.to_string()),
            Self::AnyOf(some) => f.pad(&some.iter().map(u64::to_string).collect::<Vec<_>>().join("|")),
        }
    }
}

/// Counts that the files must give, whatever the scheme. More are asserted in each scheme.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCounts {
    /// Rows in all files together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Count>,
}

/// Counts that must come out of a scheme.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedSchemeCounts {
    /// Rows per class before anything is removed. Every class is to be listed.
    #[serde(default)]
    pub labelled: BTreeMap<String, Count>,
    /// Rows per split and class after requirements and duplicates, before a task's limit. Classes left out have none.
    #[serde(default)]
    pub kept: BTreeMap<Split, BTreeMap<String, Count>>,
}

/// Compares counts with what a card says.
#[derive(Default)]
pub(super) struct Comparison {
    /// What, expected, found.
    lines: Vec<(String, Count, u64)>,
}

impl Comparison {
    /// Nothing expected means that there must be none.
    pub fn add(&mut self, what: impl Into<String>, expected: Option<&Count>, found: u64) {
        self.lines.push((what.into(), expected.cloned().unwrap_or_default(), found));
    }

    /// Whether all are as expected.
    ///
    /// # Errors
    /// A table of all counts where any differs.
    pub fn verify(self, dataset: &str, scheme: &str) -> Result<()> {
        if self.lines.iter().all(|(_, expected, found)| expected.allows(*found)) {
            return Ok(());
        }
        let width = self.lines.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or(0).max(4);
        let mut table = format!("{:width$}  {:>9}  {:>9}", "rows", "expected", "found");
        for (what, expected, found) in &self.lines {
            let mark = if expected.allows(*found) { "" } else { "  <-" };
            table.push_str(&format!("\n{what:width$}  {expected:>9}  {found:>9}{mark}"));
        }
        Err(Error::input(format!(
            "the counts of dataset `{dataset}` under scheme `{scheme}` are not those of its card\n{table}"
        ))
        .help("if the files and the card's other settings are right, correct the counts under `expect` in the card"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_all_counts_and_marks_it() {
        let either = Count::AnyOf(vec![12, 13]);
        let mut same = Comparison::default();
        same.add("all", Some(&Count::One(3)), 3);
        same.add("train positive", Some(&either), 13);
        same.add("train negative", None, 0);
        assert!(same.verify("d", "2").is_ok());

        let mut counts = Comparison::default();
        counts.add("all", Some(&Count::One(3)), 3);
        counts.add("train positive", Some(&either), 2);
        counts.add("train negative", None, 1);
        insta::assert_snapshot!(counts.verify("d", "2").unwrap_err().message, @r"
        the counts of dataset `d` under scheme `2` are not those of its card
        rows             expected      found
        all                     3          3
        train positive      12|13          2  <-
        train negative          0          1  <-
        ");
    }
}
