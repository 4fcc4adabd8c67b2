//! Label schemes: how raw labels and ratings become the classes of a task.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{diagnose::diagnostic, expected_counts::ExpectedSchemeCounts, rating_interval::Interval};
use crate::{
    base::error::{Error, Result},
    config::{Diagnostic, Node},
};

/// A way to make classes of the raw labels or ratings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelScheme {
    /// Why the classes are drawn like this, where it is someone's choice. Reports show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The classes, in the order of prompts and tables.
    pub labels: Vec<String>,
    /// What the raw labels mean. Left out: they are the classes themselves.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// For ratings: the interval of each class, such as `[-0.5, 0.5]` (both ends inside) or `(0.5, 4]` (0.5 outside).
    #[serde(default)]
    pub bins: BTreeMap<String, Interval>,
    /// Raw labels, or intervals of ratings, whose rows are left out. They are counted.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Counts that must come out.
    #[serde(default)]
    pub expect: ExpectedSchemeCounts,
}

/// What a row says about its class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RawLabel<'a> {
    Label(&'a str),
    Value(f64),
}

/// What a scheme makes of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignment {
    /// Position of the class in `labels`.
    Class(u32),
    /// Left out, with the reason.
    Dropped(String),
}

impl LabelScheme {
    /// The class of a row.
    ///
    /// # Errors
    /// A label or rating that the scheme doesn't know, with what it does know.
    pub fn assign(&self, raw: RawLabel) -> Result<Assignment> {
        match raw {
            RawLabel::Label(label) => self.assign_label(label),
            RawLabel::Value(value) => self.assign_value(value),
        }
    }

    fn assign_label(&self, raw: &str) -> Result<Assignment> {
        if self.drop.iter().any(|d| d == raw) {
            return Ok(Assignment::Dropped(format!("label `{raw}`")));
        }
        let label = if self.map.is_empty() { Some(raw) } else { self.map.get(raw).map(String::as_str) };
        if let Some(class) = label.and_then(|label| self.class(label)) {
            return Ok(Assignment::Class(class));
        }
        let known: Vec<&str> = if self.map.is_empty() {
            self.labels.iter().map(String::as_str).collect()
        } else {
            self.map.keys().map(String::as_str).collect()
        };
        let dropped =
            if self.drop.is_empty() { String::new() } else { format!("; left out: {}", self.drop.join(", ")) };
        Err(Error::input(format!("unknown label `{raw}`; known: {}{dropped}", known.join(", ")))
            .help("add it to the scheme's `map`, or to its `drop` if its rows are to be left out"))
    }

    fn assign_value(&self, value: f64) -> Result<Assignment> {
        let bin = self.bins.iter().find(|(_, interval)| interval.contains(value));
        if let Some(class) = bin.and_then(|(label, _)| self.class(label)) {
            return Ok(Assignment::Class(class));
        }
        for text in &self.drop {
            if text.parse::<Interval>()?.contains(value) {
                return Ok(Assignment::Dropped(format!("rating in {text}")));
            }
        }
        let bins: Vec<_> = self.bins.iter().map(|(label, interval)| format!("{label} {interval}")).collect();
        Err(Error::input(format!("the rating {value} lies in no class; classes: {}", bins.join(", ")))
            .help("widen one of the scheme's `bins`, or put an interval around it into `drop`"))
    }

    fn class(&self, label: &str) -> Option<u32> {
        self.labels.iter().position(|l| l == label).and_then(|i| u32::try_from(i).ok())
    }

    /// What is wrong with the scheme as a whole; `node` is where it is written.
    pub fn diagnostics(&self, node: &Node) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if self.labels.len() < 2 {
            found.push(diagnostic(node, ["labels"], "a scheme needs at least two classes"));
        }
        for (i, label) in self.labels.iter().enumerate() {
            if label.trim().is_empty() {
                found.push(diagnostic(node, ["labels"], "a class has no name"));
            } else if self.labels[..i].contains(label) {
                found.push(diagnostic(node, ["labels"], format!("`{label}` is listed twice")));
            }
        }
        if !self.map.is_empty() && !self.bins.is_empty() {
            found.push(diagnostic(node, [], "a scheme has either a `map` or `bins`, not both"));
        }
        let mapped = self.map.values().map(|label| (&["map"][..], label));
        let expected = self.expect.labelled.keys().map(|label| (&["expect", "labelled"][..], label));
        let kept = self.expect.kept.values().flat_map(BTreeMap::keys).map(|label| (&["expect", "kept"][..], label));
        for (keys, label) in
            mapped.chain(self.bins.keys().map(|label| (&["bins"][..], label))).chain(expected).chain(kept)
        {
            if self.class(label).is_none() {
                found.push(
                    diagnostic(node, keys.iter().copied(), format!("`{label}` is none of the scheme's classes"))
                        .help(format!("classes: {}", self.labels.join(", "))),
                );
            }
        }
        for label in &self.labels {
            let reached = match (self.map.is_empty(), self.bins.is_empty()) {
                (_, false) => self.bins.contains_key(label),
                (false, _) => self.map.values().any(|l| l == label),
                _ => true,
            };
            if !reached {
                found.push(
                    diagnostic(node, ["labels"], format!("nothing becomes `{label}`"))
                        .help("add it to `bins` or `map`"),
                );
            }
        }
        self.check_intervals(node, &mut found);
        found
    }

    fn check_intervals(&self, node: &Node, found: &mut Vec<Diagnostic>) {
        if self.bins.is_empty() {
            return;
        }
        let mut intervals: Vec<(String, Interval)> = self.bins.iter().map(|(l, i)| (l.clone(), *i)).collect();
        for text in &self.drop {
            match text.parse() {
                Ok(interval) => intervals.push((text.clone(), interval)),
                Err(e) => found.push(diagnostic(node, ["drop"], e.message)),
            }
        }
        for (i, (a, first)) in intervals.iter().enumerate() {
            for (b, second) in &intervals[i + 1..] {
                if first.overlaps(second) {
                    found.push(diagnostic(node, ["bins"], format!("`{a}` {first} and `{b}` {second} overlap")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{diagnose::nowhere, expected_counts::Count};

    fn five() -> LabelScheme {
        let bins = [("--", "[-4, -2)"), ("-", "[-2, -0.5)"), ("0", "[-0.5, 0.5]"), ("+", "(0.5, 2]"), ("++", "(2, 4]")];
        LabelScheme {
            labels: bins.iter().map(|(l, _)| (*l).to_owned()).collect(),
            bins: bins.iter().map(|(l, i)| ((*l).to_owned(), i.parse().unwrap())).collect(),
            ..LabelScheme::default()
        }
    }

    #[test]
    fn a_rating_on_a_cut_falls_on_the_side_that_the_bracket_says() {
        let scheme = five();
        let class = |v| match scheme.assign(RawLabel::Value(v)).unwrap() {
            Assignment::Class(c) => c,
            Assignment::Dropped(_) => panic!("dropped"),
        };
        let of: Vec<_> = [-4.0, -2.0001, -2.0, -0.5, 0.0, 0.5, 0.50001, 2.0, 2.1].into_iter().map(class).collect();
        assert_eq!(of, [0, 0, 1, 2, 2, 2, 3, 3, 4]);
        assert!(scheme.diagnostics(&nowhere()).is_empty());
        let e = scheme.assign(RawLabel::Value(4.5)).unwrap_err();
        assert!(e.message.contains("4.5") && e.message.contains("++ (2, 4]"), "{}", e.message);
    }

    #[test]
    fn a_band_can_be_left_out() {
        let scheme = LabelScheme {
            labels: vec!["negative".into(), "positive".into()],
            bins: [("negative", "[-4, 0)"), ("positive", "(0, 4]")].map(|(l, i)| (l.into(), i.parse().unwrap())).into(),
            drop: vec!["[0, 0]".into()],
            ..LabelScheme::default()
        };
        assert!(scheme.diagnostics(&nowhere()).is_empty());
        assert_eq!(scheme.assign(RawLabel::Value(0.0)).unwrap(), Assignment::Dropped("rating in [0, 0]".into()));
    }

    #[test]
    fn labels_are_mapped_left_out_or_refused() {
        let scheme = LabelScheme {
            labels: vec!["positive".into(), "negative".into()],
            map: [("+", "positive"), ("-", "negative")].map(|(a, b)| (a.into(), b.into())).into(),
            drop: vec!["*".into()],
            ..LabelScheme::default()
        };
        assert_eq!(scheme.assign(RawLabel::Label("-")).unwrap(), Assignment::Class(1));
        assert_eq!(scheme.assign(RawLabel::Label("*")).unwrap(), Assignment::Dropped("label `*`".into()));
        let e = scheme.assign(RawLabel::Label("positive")).unwrap_err();
        assert_eq!(e.message, "unknown label `positive`; known: +, -; left out: *");
    }

    #[test]
    fn what_contradicts_itself_is_found() {
        let mut scheme = five();
        scheme.bins.insert("0".into(), "[-0.5, 0.6]".parse().unwrap());
        scheme.bins.remove("--");
        scheme.labels.push("+".into());
        scheme.drop.push("x".into());
        scheme.expect.labelled.insert("?".into(), Count::One(1));
        let found: Vec<_> = scheme.diagnostics(&nowhere()).into_iter().map(|p| p.message).collect();
        for part in ["`+` is listed twice", "`?` is none of", "nothing becomes `--`", "overlap", "`x` is no interval"] {
            assert!(found.iter().any(|m| m.contains(part)), "{part}: {found:?}");
        }
    }
}
