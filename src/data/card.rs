//! Dataset cards: everything about a dataset that is not its bytes.
//!
//! A card says where the files are, how to read them, what to do to the text, how labels are made, how splits are drawn,
//! and how many rows must come out. It is the only thing that a new dataset needs.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    expect::Expect,
    normalize::{Requirement, Step, WordUnit},
    readers::{Encoding, Format},
    scheme::Scheme,
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
    pub read: Format,
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
    pub schemes: BTreeMap<String, Scheme>,
    /// Counts that the files must give.
    #[serde(default)]
    pub expect: Expect,
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

/// Something that makes a definition unusable although each of its values is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of keys inside the definition.
    pub path: String,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
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

    /// What is wrong with the card as a whole.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_files(&mut found);
        self.check_splits(&mut found);
        found.extend(self.read.problems());
        if self.schemes.is_empty() {
            found.push(
                Problem::new("schemes", "the card has no label scheme").help("add `[dataset.NAME.schemes.SCHEME]`"),
            );
        }
        for (name, scheme) in &self.schemes {
            found.extend(scheme.problems().into_iter().map(|p| {
                let inner = if p.path.is_empty() { String::new() } else { format!(".{}", p.path) };
                Problem { path: format!("schemes.{name}{inner}"), ..p }
            }));
            let (needed, key) = if scheme.bins.is_empty() {
                (self.fields.label.is_some() || self.all_files_labelled(), "label")
            } else {
                (self.fields.value.is_some(), "value")
            };
            if !needed {
                found.push(
                    Problem::new(
                        format!("schemes.{name}"),
                        format!("scheme `{name}` needs a {key}, and no column has one"),
                    )
                    .help(format!("name the column: `fields.{key} = \"...\"`")),
                );
            }
        }
        found
    }

    fn all_files_labelled(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|f| f.label.is_some())
    }

    fn check_files(&self, found: &mut Vec<Problem>) {
        if self.source.is_empty() {
            found.push(Problem::new("source", "the card names no file").help("add `[dataset.NAME.source.\"FILE\"]`"));
        }
        let mut seen = BTreeSet::new();
        let lists = self.fields.split_lists.values().map(|name| ("fields.split_lists", name));
        for (key, name) in self.files.iter().map(|file| ("files", &file.name)).chain(lists) {
            if !self.source.contains_key(name) {
                let known: Vec<_> = self.source.keys().map(String::as_str).collect();
                found.push(
                    Problem::new(key, format!("`{name}` is not among the sources"))
                        .help(format!("sources: {}", known.join(", "))),
                );
            }
        }
        for file in &self.files {
            if !seen.insert(&file.name) {
                found.push(Problem::new("files", format!("`{}` is listed twice", file.name)));
            }
        }
        if self.fields.label.is_some() && self.files.iter().any(|f| f.label.is_some()) {
            found.push(Problem::new("files", "labels come from a column or from the files, not from both"));
        }
    }

    fn check_splits(&self, found: &mut Vec<Problem>) {
        let by_file = self.files.iter().filter(|f| f.split.is_some()).count();
        let sources = [
            ("`split`", self.split.is_some()),
            ("`fields.split`", self.fields.split.is_some()),
            ("`files`", by_file > 0),
        ];
        let given: Vec<_> = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match given.as_slice() {
            [] => found.push(Problem::new("", "the card doesn't say how rows are split").help(
                "add `split = { train = 0.8, dev = 0.1, test = 0.1 }`, or say which file or column gives the split",
            )),
            [_] => {}
            several => found.push(Problem::new("split", format!("splits come from {} at once", several.join(" and ")))),
        }
        if by_file > 0 && by_file < self.files.len() {
            found.push(Problem::new("files", "some files have a split and some have none"));
        }
        let lists = &self.fields.split_lists;
        if !lists.is_empty() && (self.fields.split.is_none() || !self.fields.splits.is_empty()) {
            found.push(
                Problem::new("fields.split_lists", "lists of splits need a column, and no `splits` beside them")
                    .help("name the column whose values the files list: `fields.split = \"...\"`"),
            );
        }
        if let Some(fractions) = &self.split {
            found.extend(fractions.problems().into_iter().map(|message| Problem::new("split", message)));
        }
    }
}
