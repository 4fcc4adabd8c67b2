//! Which of a model's files are its weights, in formats that cut a model into several files.

use std::collections::BTreeSet;

use super::{
    account::some_of,
    model_files::{Files, ambiguous, listed},
    shard_index::Index,
    weight_format::ChosenFiles,
};
use crate::base::error::{Error, Result};

/// The files that an index names, whose own name ends with `index`; or where there is none, those that `has` tells by their names.
///
/// # Errors
/// If a file is missing, or more than one choice is possible.
pub fn choose(files: &Files, index: &str, has: impl Fn(&str) -> bool) -> Result<Option<ChosenFiles>> {
    let indices: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(index)).collect();
    let index = match indices.as_slice() {
        [] => None,
        [(name, path)] => Some(Index::read(name, path)?),
        many => return Err(ambiguous(many.iter().map(|(name, _)| name.as_str()))),
    };
    let present: BTreeSet<String> = files.keys().filter(|name| has(name)).cloned().collect();
    match &index {
        Some(index) => check_index(index, &present, files)?,
        None if present.is_empty() => return Ok(None),
        None => check_numbers(&present, files)?,
    }
    let names = index.as_ref().map_or(present, Index::files);
    let path =
        |(name, path): (&String, &std::path::PathBuf)| names.contains(name).then(|| (name.clone(), path.clone()));
    Ok(Some(ChosenFiles { index, files: files.iter().filter_map(path).collect() }))
}

/// An index names all files that there are, and no others.
fn check_index(index: &Index, present: &BTreeSet<String>, files: &Files) -> Result<()> {
    let names = index.files();
    let beside: Vec<_> = present.difference(&names).map(String::as_str).collect();
    if !beside.is_empty() {
        let place = &index.name;
        return Err(Error::input(format!("{place} doesn't know of {}", some_of(beside)))
            .help("leave out of the model's `source` what isn't part of the model"));
    }
    match names.difference(present).next() {
        None => Ok(()),
        Some(missing) => Err(Error::input(format!(
            "{} names `{missing}`, which isn't among the model's files: {}",
            index.name,
            listed(files)
        ))
        .help("add the file to the model's `source`")),
    }
}

/// Without an index there is one file, or the names of several count them: `model-00001-of-00007.safetensors`.
fn check_numbers(names: &BTreeSet<String>, files: &Files) -> Result<()> {
    if let Some(missing) = names.iter().find_map(|name| missing_beside(name, names)) {
        return Err(Error::input(format!("the shard `{missing}` isn't among the model's files: {}", listed(files)))
            .help("add the file to the model's `source`"));
    }
    let counts = names.iter().all(|name| siblings(name).is_some_and(|siblings| siblings.len() == names.len()));
    if names.len() > 1 && !counts { Err(ambiguous(names.iter().map(String::as_str))) } else { Ok(()) }
}

/// The first file that `name` says there is beside it, and isn't.
fn missing_beside(name: &str, names: &BTreeSet<String>) -> Option<String> {
    siblings(name)?.into_iter().find(|sibling| !names.contains(sibling))
}

/// The names of a model's files by one of them.
fn siblings(name: &str) -> Option<Vec<String>> {
    const MOST: usize = 10_000;
    let (start, rest) = name.rsplit_once("-of-")?;
    let (stem, number) = start.rsplit_once('-')?;
    let (count, end) = rest.split_once('.')?;
    number.parse::<usize>().ok()?;
    let width = number.len();
    let last = count.parse::<usize>().ok().filter(|last| *last <= MOST)?;
    Some((1..=last).map(|i| format!("{stem}-{i:0width$}-of-{count}.{end}")).collect())
}
