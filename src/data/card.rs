//! Dataset cards: everything about a dataset that is not its bytes.
//!
//! A card says where the files are, how to read them, what to do to the text, how labels are made, how splits are drawn,
//! and how many rows must come out. It is the only thing that a new dataset needs.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    expected_counts::ExpectedCounts,
    label_scheme::LabelScheme,
    normalize::{Requirement, Step, WordUnit},
    readers::{Encoding, FileFormat},
    split::{Fractions, Split},
};
use crate::fetch::Source;

/// A dataset card, `[dataset.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The dataset's name in reports.
    pub title: String,
    /// What the dataset is, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the text is from, such as `movie reviews`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Language of the text, such as `English`.
    pub language: String,
    /// What the labels measure, such as `sentiment intensity`. Reports show it; only emotion is called `emotion`.
    pub construct: String,
    /// Licence of the data, as far as it is stated, and by whom.
    pub license: String,
    /// Where to read about the dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Who to cite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
    /// Quirks, and choices that someone could make otherwise. Reports show them.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The files and where they come from, by file name.
    #[schemars(with = "BTreeMap<String, Source>")]
    pub source: BTreeMap<String, serde_json::Value>,
    /// Which of the files to read, in this order. Left out: all of them, in the order of their names.
    #[serde(default)]
    pub files: Vec<FileSpec>,
    /// Character encoding of the files.
    #[serde(default)]
    pub encoding: Encoding,
    /// File format, and its options.
    pub read: FileFormat,
    /// Which column means what.
    pub fields: Fields,
    /// What is done to every text, in this order.
    #[serde(default)]
    pub normalize: Vec<Step>,
    /// What a text must fulfil; rows that don't are dropped and counted.
    #[serde(default)]
    pub require: Vec<Requirement>,
    /// What becomes of texts that occur more than once.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How splits are drawn, where the files don't bring their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Fractions>,
    /// What counts as a word when words are counted.
    #[serde(default)]
    pub words: WordUnit,
    /// The ways to make classes of the labels. A task picks one.
    pub schemes: BTreeMap<String, LabelScheme>,
    /// Counts that the files must give.
    #[serde(default)]
    pub expect: ExpectedCounts,
}

/// A file of the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Name under `source`.
    pub name: String,
    /// The split that all rows of the file belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The raw label that all rows of the file have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which column of the files means what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// Column of the text.
    pub text: String,
    /// Column of the raw label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Column of the rating, where labels are continuous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Columns that name a row together. Left out: file name and line.
    #[serde(default)]
    pub id: Vec<String>,
    /// Column of the dialogue that the utterance belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialogue: Option<String>,
    /// Column of the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Column of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// What the words in the split column mean, where they aren't `train`, `dev` and `test`.
    #[serde(default)]
    pub splits: BTreeMap<String, Split>,
    /// Files among the sources that list, one a line, the values of the split column that belong to a split.
    #[serde(default)]
    pub split_lists: BTreeMap<Split, String>,
}

/// What becomes of texts that are equal but for case and white space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// One is kept if all have the same class, none if their classes differ. Of equal texts in several splits the one in
    /// test stays, before that in dev, before that in train; within a split the first one.
    #[default]
    Remove,
    /// All are kept, as published evaluations of the dataset do. They are counted all the same.
    Keep,
}

impl Card {
    /// The files to read, in order.
    pub fn files(&self) -> Vec<FileSpec> {
        if self.files.is_empty() {
            let is_list = |name: &&String| self.fields.split_lists.values().any(|list| list == *name);
            let rows = self.source.keys().filter(|name| !is_list(name));
            rows.map(|name| FileSpec { name: name.clone(), split: None, label: None }).collect()
        } else {
            self.files.clone()
        }
    }

    /// Files whose pin is of a local copy: nobody has compared it with what was published.
    pub fn local_files(&self) -> BTreeSet<String> {
        let local = |source: &serde_json::Value| source.get("local").and_then(serde_json::Value::as_bool) == Some(true);
        self.source.iter().filter(|(_, source)| local(source)).map(|(name, _)| name.clone()).collect()
    }
}
