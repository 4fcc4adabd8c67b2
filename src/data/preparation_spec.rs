//! Everything that decides which examples come out of a dataset's files: what enters the key of a prepared dataset.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    card::{Card, Duplicates, Fields, FileSpec},
    expected_counts::Count,
    label_scheme::LabelScheme,
    normalize::{Requirement, Step, WordUnit},
    readers::{Encoding, FileFormat},
    split::{Fractions, Split},
    task::Limit,
};

/// A dataset's card under one of its label schemes, with a task's limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparationSpec {
    pub dataset: String,
    pub language: String,
    /// What the labels measure.
    pub construct: String,
    pub license: String,
    pub notes: Vec<String>,
    pub files: Vec<FileSpec>,
    pub encoding: Encoding,
    pub read: FileFormat,
    pub fields: Fields,
    pub normalize: Vec<Step>,
    pub require: Vec<Requirement>,
    pub duplicates: Duplicates,
    pub split: Option<Fractions>,
    pub words: WordUnit,
    pub scheme_name: String,
    pub scheme: LabelScheme,
    pub limit: Limit,
    pub expected_rows: Option<Count>,
    /// Files whose pin is not the card's.
    pub local_files: BTreeSet<String>,
}

impl PreparationSpec {
    /// The preparation of a card under the scheme `scheme_name`.
    pub fn new(dataset: &str, card: &Card, scheme_name: &str, scheme: &LabelScheme, limit: Limit) -> Self {
        Self {
            dataset: dataset.to_owned(),
            language: card.language.clone(),
            construct: card.construct.clone(),
            license: card.license.clone(),
            notes: card.notes.clone(),
            files: card.files(),
            encoding: card.encoding,
            read: card.read.clone(),
            fields: card.fields.clone(),
            normalize: card.normalize.clone(),
            require: card.require.clone(),
            duplicates: card.duplicates,
            split: card.split.clone(),
            words: card.words,
            scheme_name: scheme_name.to_owned(),
            scheme: scheme.clone(),
            limit,
            expected_rows: card.expect.rows.clone(),
            local_files: card.local_files(),
        }
    }

    /// Whether the dataset should have examples in a split.
    pub(super) fn provides(&self, split: Split) -> bool {
        match &self.split {
            Some(fractions) => fractions.shares().iter().any(|(s, share)| *s == split && *share > 0.0),
            None => {
                split != Split::Dev
                    || self.files.iter().any(|f| f.split == Some(split))
                    || self.fields.splits.values().any(|s| *s == split)
                    || self.fields.split_lists.contains_key(&split)
            }
        }
    }
}
