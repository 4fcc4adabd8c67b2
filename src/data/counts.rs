//! Counts of a dataset's rows, and whether they are what its card and the task need.

use super::{
    expected_counts::Comparison, preparation_spec::PreparationSpec, rows::Row, split::Split, summary::SplitCounts,
};
use crate::base::error::{Error, Result};

impl PreparationSpec {
    /// Counts per split; splits that have no row and that nothing provides are left out.
    pub(super) fn count(&self, rows: &[Row]) -> Vec<SplitCounts> {
        let empty = |split| SplitCounts {
            split,
            examples: 0,
            words: 0,
            classes: self.scheme.labels.iter().map(|label| (label.clone(), 0)).collect(),
        };
        let mut counts = Split::ALL.map(empty);
        for row in rows {
            let split = &mut counts[row.example.split as usize];
            split.examples += 1;
            split.words += row.words;
            if row.labelled {
                split.classes[row.example.label_id as usize] += 1;
            }
        }
        counts.into_iter().filter(|c| c.examples > 0 || self.provides(c.split)).collect()
    }

    /// # Errors
    /// Counts that differ from those of the card, all of them side by side.
    pub(super) fn check_counts(&self, rows: u64, read: &[SplitCounts], available: &[SplitCounts]) -> Result<()> {
        let mut comparison = Comparison::default();
        if self.expected_rows.is_some() {
            comparison.add("all", self.expected_rows.as_ref(), rows);
        }
        let expect = &self.scheme.expect;
        for label in self.scheme.labels.iter().filter(|_| !expect.labelled.is_empty()) {
            let found = read.iter().map(|s| s.classes[label]).sum();
            comparison.add(label, expect.labelled.get(label), found);
        }
        for (split, classes) in &expect.kept {
            let counts = available.iter().find(|s| s.split == *split);
            for label in &self.scheme.labels {
                let found = counts.map_or(0, |s| s.classes[label]);
                comparison.add(format!("{} {label}", split.name()), classes.get(label), found);
            }
        }
        comparison.verify(&self.dataset, &self.scheme_name)
    }

    /// # Errors
    /// A split without examples, or without examples of a class.
    pub(super) fn check_classes(&self, available: &[SplitCounts], kept: &[SplitCounts]) -> Result<()> {
        let place = format!("dataset `{}`, scheme `{}`", self.dataset, self.scheme_name);
        for split in Split::ALL {
            let limit = self.limit.of(split);
            let wanted = limit.map_or_else(|| self.provides(split), |n| n > 0);
            let of = |counts: &[SplitCounts]| counts.iter().find(|c| c.split == split).cloned();
            let (before, after) = (of(available), of(kept));
            if !wanted && after.as_ref().is_none_or(|c| c.examples == 0) {
                continue;
            }
            let name = split.name();
            let after = after.filter(|c| c.examples > 0).ok_or_else(|| {
                Error::input(format!("{place}: the {name} split is empty")).help(format!(
                    "give it examples in the dataset's card, or leave it out with `limit.{name} = 0` in the task"
                ))
            })?;
            let missing: Vec<_> =
                after.classes.iter().filter(|(_, n)| **n == 0).map(|(l, _)| format!("`{l}`")).collect();
            if !missing.is_empty() {
                let cut = before.is_some_and(|b| b.examples > after.examples);
                let help = if cut {
                    format!("raise `limit.{name}` of the task, or pick a scheme with fewer classes")
                } else {
                    "pick a scheme with fewer classes, or split differently in the dataset's card".to_owned()
                };
                return Err(Error::input(format!(
                    "{place}: the {name} split ({} examples) has no example of {}",
                    after.examples,
                    missing.join(", "),
                ))
                .help(help));
            }
        }
        Ok(())
    }
}
