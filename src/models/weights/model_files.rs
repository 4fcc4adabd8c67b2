//! A model's files by the names they have in the artifact.

use std::{collections::BTreeMap, path::PathBuf};

use super::account::some_of;
use crate::base::error::Error;

/// Files by the names they have in the artifact.
pub type Files = BTreeMap<String, PathBuf>;

/// A file's name without its folders.
pub fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// All names, for messages.
pub fn listed(files: &Files) -> String {
    files.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What is said of files among which none can be chosen.
pub fn ambiguous<'a>(names: impl IntoIterator<Item = &'a str>) -> Error {
    Error::input(format!("several files may be the model's weights: {}", some_of(names)))
        .help("keep in the model's `source` those that are meant, with their index where they are shards of one model")
}
