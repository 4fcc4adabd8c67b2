//! What a table of datasets shows: the cards' words, and what a publication says of the same corpora.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the table shows, and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetLayout {
    /// Name of the table's files, without extension.
    pub name: String,
    pub title: String,
    /// Markdown, one item each.
    pub notes: Vec<String>,
    /// Where the published figures are from.
    pub publication: String,
    /// Rows, from top to bottom.
    pub datasets: Vec<DatasetEntry>,
}

/// What a card says of a dataset that its prepared examples don't.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetEntry {
    pub name: String,
    pub title: String,
    pub description: Option<String>,
    pub domain: Option<String>,
    pub homepage: Option<String>,
    pub citation: Option<String>,
    /// Where each file is published; files that people fetch by hand aren't here.
    pub urls: BTreeMap<String, String>,
    pub published: Option<Published>,
}

/// What a publication says of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// Language of the text.
    pub language: Option<String>,
    /// Whether the utterances are parts of dialogues.
    pub dialogue: Option<bool>,
    /// Where the text is from.
    pub domain: Option<String>,
    /// Number of speakers.
    pub speakers: Option<u64>,
    /// Number of dialogues.
    pub dialogues: Option<u64>,
    /// Number of utterances, in all splits together.
    pub utterances: Option<u64>,
    /// Utterances of the test split.
    pub test: Option<u64>,
    /// Mean number of words, compared to one decimal.
    pub words: Option<f64>,
    /// The classes, where the labels are classes.
    pub labels: Vec<String>,
    /// The ratings, where the labels are ratings: `-3 to 3`.
    pub scale: Option<String>,
}
