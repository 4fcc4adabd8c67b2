//! Tensors in one weight file or in several of one format.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};

use super::{
    shard_index::Index,
    stored::Stored,
    weight_format::{ChosenFiles, TensorSource},
};
use crate::base::error::{At, Error, Result};

/// Open weight files.
pub struct Shards {
    index: Option<Index>,
    /// By the file's name in the artifact, then by the tensor's.
    files: BTreeMap<String, BTreeMap<String, Stored>>,
}

impl Shards {
    /// Opens files of a format whose `list` gives the tensors of one file, by name.
    ///
    /// # Errors
    /// If `list` fails, or a tensor is in two files.
    pub fn open(
        ChosenFiles { index, files }: ChosenFiles,
        list: fn(&str, &Path) -> Result<BTreeMap<String, Stored>>,
    ) -> Result<Self> {
        let open = |(name, path): (String, std::path::PathBuf)| {
            let tensors = list(&name, &path)?;
            Ok((name, tensors))
        };
        let files: BTreeMap<_, _> = files.into_iter().map(open).collect::<Result<_>>()?;
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
    fn find(&self, name: &str) -> Result<Option<&Stored>> {
        let Some(index) = &self.index else { return Ok(self.files.values().find_map(|tensors| tensors.get(name))) };
        let Some(file) = index.places.get(name) else { return Ok(None) };
        let found = self.files.get(file).and_then(|tensors| tensors.get(name));
        found.map(Some).ok_or_else(|| {
            Error::input(format!("{file} has no tensor `{name}`, which {} says it has", index.name))
                .help("the files belong to different models or are incomplete: fetch them again")
        })
    }
}

impl TensorSource for Shards {
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.find(name)?.map(|stored| stored.shape.clone()))
    }

    fn place(&self, name: &str) -> Result<String> {
        Ok(match (self.find(name)?, &self.index) {
            (Some(stored), _) => stored.file.name.clone(),
            (None, Some(index)) => index.name.clone(),
            (None, None) => self.files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let stored = self.find(name)?.ok_or_else(|| Error::internal(format!("tensor `{name}` is gone")))?;
        stored.load(dtype, device).at(format!("tensor `{name}`")).at(&stored.file.name)
    }

    fn all(&self) -> BTreeMap<&str, &str> {
        let stored =
            self.files.iter().flat_map(|(file, tensors)| tensors.keys().map(move |t| (t.as_str(), file.as_str())));
        let listed = self.index.iter().flat_map(|index| index.places.keys().map(|t| (t.as_str(), index.name.as_str())));
        stored.chain(listed).collect()
    }

    fn are_equal(&self, first: &str, second: &str) -> Result<Option<bool>> {
        let (Some(first_stored), Some(stored)) = (self.find(first)?, self.find(second)?) else { return Ok(None) };
        first_stored.equals(stored).at(format!("tensor `{first}`")).at(&first_stored.file.name).map(Some)
    }
}
