//! What each tokenizer format does.

use std::path::{Path, PathBuf};

use super::{convention::Convention, pretrained_tokenizer::PretrainedTokenizer, tokenizer_files::Files};
use crate::base::error::Result;

/// Where a tokenizer comes from.
pub struct Origin<'a> {
    /// All files of the model.
    pub files: &'a Files,
    /// What the model's family adds to them.
    pub convention: Option<&'a Convention>,
}

/// A tokenizer format: how to recognise it among a model's files, and how to read it.
pub trait TokenizerFormat: Sync {
    /// Name of the file that holds the tokenizer.
    fn file_name(&self) -> &'static str;

    /// The file that holds the tokenizer, if the model has one of this format.
    ///
    /// # Errors
    /// If several could be meant.
    fn find<'a>(&self, files: &'a Files) -> Result<Option<&'a Path>> {
        Ok(files.get(self.file_name()).map(PathBuf::as_path))
    }

    /// Reads the tokenizer in the file at `path`.
    ///
    /// # Errors
    /// If the file is damaged or uses what isn't supported.
    fn load(&self, path: &Path, origin: &Origin<'_>) -> Result<PretrainedTokenizer>;
}
