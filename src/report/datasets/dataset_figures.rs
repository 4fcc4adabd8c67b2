//! The figures of each dataset, ours and published, and where they differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    super::format,
    dataset_layout::{DatasetEntry, DatasetLayout},
};
use crate::{
    base::error::{Error, Result},
    data::{Split, Summary, summary::SplitCounts},
};

/// One line of the table, from either side.
#[derive(Serialize)]
pub struct Figures {
    pub language: Option<String>,
    pub dialogue: Option<bool>,
    pub domain: Option<String>,
    pub speakers: Option<u64>,
    pub dialogues: Option<u64>,
    pub utterances: Option<u64>,
    pub test: Option<u64>,
    pub words: Option<f64>,
    pub classes: Option<String>,
}

/// A dataset of the layout with what was prepared of it, one summary for each scheme.
pub struct Row<'a> {
    pub entry: &'a DatasetEntry,
    pub schemes: Vec<&'a Summary>,
}

/// The rows of a layout, and the names of datasets that it has no row for.
///
/// # Errors
/// Two summaries of one dataset that were made from different files.
pub fn rows<'a>(layout: &'a DatasetLayout, summaries: &'a [Summary]) -> Result<(Vec<Row<'a>>, Vec<&'a str>)> {
    let mut by_dataset: BTreeMap<&str, BTreeMap<&str, &Summary>> = BTreeMap::new();
    for summary in summaries {
        let schemes = by_dataset.entry(&summary.dataset).or_default();
        if let Some(other) = schemes.values().next()
            && other.sources != summary.sources
        {
            return Err(Error::input(format!("dataset `{}` was prepared from different files", summary.dataset))
                .help("give the table inputs of one run of the pipeline"));
        }
        schemes.insert(&summary.scheme, summary);
    }
    let row = |entry: &'a DatasetEntry| Row {
        entry,
        schemes: by_dataset.remove(entry.name.as_str()).into_iter().flat_map(BTreeMap::into_values).collect(),
    };
    let rows = layout.datasets.iter().map(row).collect();
    Ok((rows, by_dataset.into_keys().collect()))
}

impl Row<'_> {
    pub fn here(&self) -> Option<Figures> {
        let any = self.schemes.first()?;
        let classes: BTreeSet<usize> = self.schemes.iter().map(|s| s.labels.len()).collect();
        let classes: Vec<_> = classes.iter().map(usize::to_string).collect();
        Some(Figures {
            language: Some(any.language.clone()),
            dialogue: Some(any.dialogues.is_some()),
            domain: self.entry.domain.clone(),
            speakers: any.speakers,
            dialogues: any.dialogues,
            utterances: Some(any.rows()),
            test: any.read.iter().find(|s| s.split == Split::Test).map(|s| s.examples),
            words: Some(any.words_per_utterance()),
            classes: Some(classes.join(" or ")),
        })
    }

    pub fn published(&self) -> Option<Figures> {
        let p = self.entry.published.clone()?;
        let count = Some(p.labels.len()).filter(|n| *n > 0);
        Some(Figures {
            language: p.language,
            dialogue: p.dialogue,
            domain: p.domain,
            speakers: p.speakers,
            dialogues: p.dialogues,
            utterances: p.utterances,
            test: p.test,
            words: p.words,
            classes: count.map(|n| n.to_string()).or(p.scale),
        })
    }

    /// Every figure in which the two sides differ, a sentence each.
    pub fn differences(&self) -> Vec<String> {
        let (Some(here), Some(published)) = (self.here(), self.published()) else { return Vec::new() };
        let mut found = Vec::new();
        for (what, here, published) in [
            ("speakers", here.speakers, published.speakers),
            ("dialogues", here.dialogues, published.dialogues),
            ("utterances", here.utterances, published.utterances),
            ("test utterances", here.test, published.test),
        ] {
            match (here, published) {
                (Some(here), Some(published)) if here != published => found.push(format!(
                    "{what}: {} here, {} published ({})",
                    format::count(here),
                    format::count(published),
                    signed(here, published)
                )),
                (None, Some(published)) => {
                    found.push(format!("{what}: not in the files, {} published", format::count(published)))
                }
                _ => {}
            }
        }
        if let (Some(here), Some(published)) = (here.words, published.words)
            && decimal(here) != decimal(published)
        {
            found.push(format!("words per utterance: {} here, {} published", decimal(here), decimal(published)));
        }
        if let (Some(here), Some(published)) = (here.language, published.language)
            && here != published
        {
            found.push(format!("language: {here} here, {published} published"));
        }
        if let (Some(here), Some(published)) = (here.dialogue, published.dialogue)
            && here != published
        {
            found.push(format!("dialogue: {} here, {} published", yes(here), yes(published)));
        }
        let labels = self.entry.published.iter().flat_map(|p| &p.labels);
        let published: Vec<&str> = labels.map(String::as_str).collect();
        let same = |s: &&Summary| {
            s.labels.len() == published.len() && s.labels.iter().all(|label| published.contains(&label.as_str()))
        };
        if !published.is_empty() && !self.schemes.iter().any(same) {
            let here: Vec<_> = self.schemes.iter().map(|s| s.labels.join(", ")).collect();
            found.push(format!("classes: {} here, {} published", here.join("; or "), published.join(", ")));
        }
        found
    }
}

fn signed(here: u64, published: u64) -> String {
    if here > published {
        format!("+{}", format::count(here - published))
    } else {
        format!("−{}", format::count(published - here))
    }
}

pub fn decimal(x: f64) -> String {
    format!("{x:.1}")
}

pub fn yes(b: bool) -> &'static str {
    if b { "yes" } else { "no" }
}

/// Rows that have no class under the scheme.
pub fn unclassed(split: &SplitCounts) -> u64 {
    split.examples.saturating_sub(split.classes.values().sum())
}
