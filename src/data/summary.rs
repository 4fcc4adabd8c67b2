//! What became of a dataset's rows: the content of `summary.json`.

use std::{collections::BTreeMap, path::Path};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{card::Duplicates, split::Split};
use crate::base::{
    digest::Digest,
    error::{At, IoAt, Result},
};

/// All counts of a prepared dataset, and what a reader must know to judge them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub dataset: String,
    pub scheme: String,
    /// Why the classes are drawn as they are.
    pub scheme_note: Option<String>,
    pub language: String,
    /// What the labels measure.
    pub construct: String,
    pub license: String,
    pub notes: Vec<String>,
    /// The classes in order; their positions are the label ids.
    pub labels: Vec<String>,
    /// Rows of each file.
    pub files: IndexMap<String, u64>,
    /// Every file that was read, lists of splits included.
    pub sources: Vec<SourceFile>,
    /// All rows; classes count those that the scheme has a class for.
    pub read: Vec<SplitCounts>,
    /// Rows left out, by reason. Duplicates are not among them.
    pub dropped: BTreeMap<String, u64>,
    pub duplicates: DuplicateCounts,
    /// Rows that remain, before the task's limit.
    pub available: Vec<SplitCounts>,
    /// Rows in the table.
    pub kept: Vec<SplitCounts>,
    /// Dialogues among all rows, where the dataset has dialogues.
    pub dialogues: Option<u64>,
    /// Speakers among all rows, where the dataset names them.
    pub speakers: Option<u64>,
}

/// A file that a dataset was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    pub name: String,
    pub bytes: u64,
    pub blake3: Digest,
    pub pin: Pin,
}

/// Who says that a file is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// The dataset's card.
    Canonical,
    /// Nobody: the pin was taken from a local copy, or given for one run.
    Local,
}

/// Counts of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitCounts {
    pub split: Split,
    pub examples: u64,
    /// Words of all examples together, in the card's unit.
    pub words: u64,
    /// Examples of each class, in the scheme's order.
    pub classes: IndexMap<String, u64>,
}

/// Rows whose text occurs more than once, but for case and white space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateCounts {
    pub policy: Duplicates,
    /// Rows that repeat a row of the same class and split.
    pub repeats_within_split: u64,
    /// Rows that repeat a row of the same class in another split.
    pub repeats_across_splits: u64,
    /// Texts that occur with more than one class.
    pub conflicting_texts: u64,
    /// Rows of those texts.
    pub conflicting_rows: u64,
    /// Rows that were removed for it.
    pub removed: u64,
}

impl Summary {
    /// The file that holds a summary.
    pub const FILE: &'static str = "summary.json";

    /// Mean number of words over all rows of the files.
    pub fn words_per_utterance(&self) -> f64 {
        let (words, rows) = self.read.iter().fold((0, 0), |(w, n), s| (w + s.words, n + s.examples));
        if rows == 0 { 0.0 } else { words as f64 / rows as f64 }
    }

    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.files.values().sum()
    }

    /// Files of which nobody has said that they are the published ones.
    pub fn local_copies(&self) -> impl Iterator<Item = &SourceFile> {
        self.sources.iter().filter(|file| file.pin == Pin::Local)
    }

    /// Writes the summary as JSON.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        std::fs::write(path, json).io_at("write", path)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// If the file can't be read, or isn't a summary.
    pub fn read_from(path: &Path) -> Result<Self> {
        let json = std::fs::read(path).io_at("read", path)?;
        serde_json::from_slice(&json).at(path.display())
    }
}
