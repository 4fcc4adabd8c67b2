//! What a format of weight files is: how its files are told from others, chosen, and opened.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};

use super::{model_config::Config, model_files::Files, shard_index::Index};
use crate::base::error::Result;

/// A format of weight files.
pub trait WeightFormat: Sync {
    /// Whether a file of this name (inside the artifact) holds weights in this format.
    fn has(&self, name: &str) -> bool;

    /// Whether its files are whole models, of which publishers lay several side by side: then one beside other weights, of
    /// whatever format, leaves open which is meant. Files of other formats beside each other are the same weights twice.
    fn stands_alone(&self) -> bool {
        false
    }

    /// Whether its files carry the model's configuration.
    fn has_config(&self) -> bool {
        false
    }

    /// A model's files in this format, if there are any. They aren't opened, but for an index.
    ///
    /// # Errors
    /// If some are missing, or more than one choice is possible.
    fn choose(&self, files: &Files) -> Result<Option<ChosenFiles>>;

    /// Opens what [`WeightFormat::choose`] chose.
    ///
    /// # Errors
    /// If a file can't be read, or isn't what the format asks for.
    fn open(&self, chosen: ChosenFiles) -> Result<OpenedWeights>;
}

/// A model's weight files in one format.
pub struct ChosenFiles {
    /// Which file has which tensor, where the files bring an index.
    pub index: Option<Index>,
    /// By the names they have in the artifact.
    pub files: BTreeMap<String, PathBuf>,
}

/// Open weight files, and what they say of the model themselves.
pub struct OpenedWeights {
    pub tensors: Box<dyn TensorSource>,
    /// Under the names of a `config.json`, where the format carries it.
    pub config: Option<Config>,
}

/// Tensors in open files, under the names of the reference implementation.
pub trait TensorSource {
    /// The shape of a tensor; none where the files don't have it.
    ///
    /// # Errors
    /// If an index names a file for it that doesn't have it.
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>>;

    /// The file with the tensor, or where it would have to be, for messages.
    ///
    /// # Errors
    /// As [`TensorSource::shape`].
    fn place(&self, name: &str) -> Result<String>;

    /// A tensor that is there, in its shape `[...]`, converted to `dtype` as it is read.
    ///
    /// # Errors
    /// If it can't be read, or its numbers can't be had in `dtype`.
    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor>;

    /// The name that the files have for a tensor.
    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Every tensor that a file has, or an index says it has, by the name that the files have for it, with that place.
    fn all(&self) -> BTreeMap<&str, &str>;

    /// Whether two tensors have the same shape and numbers; none where the files don't have both.
    ///
    /// # Errors
    /// If one can't be read.
    fn are_equal(&self, _first: &str, _second: &str) -> Result<Option<bool>> {
        Ok(None)
    }
}
