//! The registry of tokenizer formats.

use super::{
    convention::Convention,
    pretrained_tokenizer::PretrainedTokenizer,
    tokenizer_files::Files,
    tokenizer_format::{Origin, TokenizerFormat},
};
use crate::base::error::{Error, Result};

/// In order of preference.
const FORMATS: &[&dyn TokenizerFormat] = &[
    &super::tokenizer_json::TokenizerJson,
    &super::sentencepiece::SentencePieceModel,
    &super::wordpiece::VocabTxt,
    &super::gguf_vocabulary::GgufVocabulary,
];

impl PretrainedTokenizer {
    /// Reads the tokenizer among a model's `files`; `convention` is that of its family ([`Convention::of`]).
    ///
    /// # Errors
    /// If no file holds a known format, or if the file is damaged or uses what isn't supported.
    pub fn load(files: &Files, convention: Option<&Convention>) -> Result<Self> {
        for format in FORMATS {
            if let Some(path) = format.find(files)? {
                return format.load(path, &Origin { files, convention });
            }
        }
        let known: Vec<_> = FORMATS.iter().map(|f| f.file_name()).collect();
        let have: Vec<_> = files.keys().map(String::as_str).collect();
        Err(Error::input(format!("the model has no tokenizer file; its files are: {}", have.join(", ")))
            .help(format!("add one of these to the model's files: {}", known.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn no_tokenizer() {
        let files = Files::from([("model.safetensors".to_owned(), PathBuf::from("x"))]);
        let e = PretrainedTokenizer::load(&files, None).unwrap_err();
        assert!(e.message.contains("model.safetensors"), "{e}");
        assert!(e.help.unwrap().contains("tokenizer.json"));
    }
}
