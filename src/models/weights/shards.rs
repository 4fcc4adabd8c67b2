//! Tensors in one weight file or in several of one format.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    shard_index::Index,
    stored::Stored,
    weight_files::{Files, Format},
};
use crate::base::error::{Error, Result};

/// Open weight files.
pub struct Shards {
    index: Option<Index>,
    /// By the file's name in the artifact, then by the tensor's.
    files: BTreeMap<String, BTreeMap<String, Stored>>,
}

impl Shards {
    pub fn open(files: &Files, format: &Format, index: Option<Index>, names: &BTreeSet<String>) -> Result<Self> {
        let open = |name: &String| match files.get(name) {
            Some(path) => Ok((name.clone(), (format.list)(name, path)?)),
            None => Err(Error::internal(format!("{name} is gone"))),
        };
        let files: BTreeMap<_, _> = names.iter().map(open).collect::<Result<_>>()?;
        let mut places: BTreeMap<&str, &str> = BTreeMap::new();
        for (file, tensor) in files.iter().flat_map(|(file, tensors)| tensors.keys().map(move |t| (file, t))) {
            if let Some(earlier) = places.insert(tensor, file) {
                return Err(Error::input(format!("tensor `{tensor}` is in {earlier} and in {file}"))
                    .help("the files belong to different models: fetch them again"));
            }
        }
        Ok(Self { index, files })
    }

    /// The tensor `name`, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<&Stored>> {
        let Some(index) = &self.index else { return Ok(self.files.values().find_map(|tensors| tensors.get(name))) };
        let Some(file) = index.places.get(name) else { return Ok(None) };
        let found = self.files.get(file).and_then(|tensors| tensors.get(name));
        found.map(Some).ok_or_else(|| {
            Error::input(format!("{file} has no tensor `{name}`, which {} says it has", index.name))
                .help("the files belong to different models or are incomplete: fetch them again")
        })
    }

    /// Every tensor that a file has, or the index says it has, with that place.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored =
            self.files.iter().flat_map(|(file, tensors)| tensors.keys().map(move |t| (t.as_str(), file.as_str())));
        let listed = self.index.iter().flat_map(|index| index.places.keys().map(|t| (t.as_str(), index.name.as_str())));
        stored.chain(listed)
    }

    /// Where a tensor's name would have to stand.
    pub fn place(&self) -> String {
        match &self.index {
            Some(index) => index.name.clone(),
            None => self.files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        }
    }
}
