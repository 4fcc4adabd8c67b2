//! `tokenizer.json` with `tokenizer_config.json`, `chat_template.jinja` and `config.json`, as the Hugging Face hub has them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokenizers::models::ModelWrapper;

use super::{
    LibraryTokenizer, TextModel,
    model::{Files, Origin},
};
use crate::error::{At, Error, IoAt, Result};

const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
const MODEL_CONFIG: &str = "config.json";

/// The keys under which a model configuration gives its context, by family.
const CONTEXT_KEYS: [&str; 3] = ["max_position_embeddings", "seq_length", "n_positions"];

pub fn find(files: &Files) -> Result<Option<&Path>> {
    Ok(files.get(TOKENIZER).map(PathBuf::as_path))
}

pub fn load(path: &Path, origin: &Origin<'_>) -> Result<TextModel> {
    let bytes = std::fs::read(path).io_at("read", path)?;
    let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| {
        Error::input(format!("{TOKENIZER}: {e}")).help("the file is damaged or newer than this program knows")
    })?;
    let model = match inner.get_model() {
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    };
    Ok(TextModel {
        kind: format!("{TOKENIZER} {model}"),
        tokenizer: Box::new(LibraryTokenizer::new(inner).at(TOKENIZER)?),
        named: named_tokens(&json(origin.files, TOKENIZER_CONFIG)?),
        chat_template: chat_template(origin.files)?.or_else(|| origin.convention.map(|c| c.chat_template.clone())),
        context: context(origin.files)?,
        separate_answers: origin.convention.is_some_and(|c| c.separate_answers),
    })
}

/// The template that a model's files bring, if any.
pub(super) fn chat_template(files: &Files) -> Result<Option<String>> {
    match files.get(CHAT_TEMPLATE) {
        Some(path) => std::fs::read_to_string(path).io_at("read", path).map(Some),
        None => Ok(config_template(&json(files, TOKENIZER_CONFIG)?)),
    }
}

/// Tokens that a model was made to read at most, where its files say it.
pub(super) fn context(files: &Files) -> Result<Option<usize>> {
    let config = json(files, MODEL_CONFIG)?;
    Ok(CONTEXT_KEYS.iter().find_map(|key| config[*key].as_u64()).and_then(|n| usize::try_from(n).ok()))
}

/// The file as JSON; null where the model has no such file.
pub(super) fn json(files: &Files, name: &str) -> Result<Value> {
    let Some(path) = files.get(name) else { return Ok(Value::Null) };
    let bytes = std::fs::read(path).io_at("read", path)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::input(format!("{name}: {e}")).help("the file is damaged"))
}

/// `bos_token` and its like are a string, or an object that holds it as `content`.
pub(super) fn named_tokens(config: &Value) -> BTreeMap<String, String> {
    let names = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
    let text = |v: &Value| v.as_str().or_else(|| v["content"].as_str()).map(str::to_owned);
    names.iter().filter_map(|name| Some(((*name).to_owned(), text(&config[*name])?))).collect()
}

/// The template is a string, or the one called `default` in a list.
fn config_template(config: &Value) -> Option<String> {
    let template = &config["chat_template"];
    let default = || template.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    template.as_str().or_else(default).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, contents: &[(&str, &str)]) -> Files {
        contents
            .iter()
            .map(|(name, text)| {
                std::fs::write(dir.join(name), text).unwrap();
                ((*name).to_owned(), dir.join(name))
            })
            .collect()
    }

    /// Two words, a control token and an added word whose ids lie behind the vocabulary.
    const WORDS: &str = r#"{"version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
        "stride": 0}, "padding": null, "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null, "added_tokens": [
          {"id": 3, "content": "<end>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
          {"id": 4, "content": "<tool>", "special": false, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "good": 1, "end": 2}, "unk_token": "<unk>"}}"#;

    #[test]
    fn plain_text_gives_no_control_token() {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"eos_token": {"content": "<end>"}, "bos_token": null,
            "chat_template": [{"name": "other", "template": "o"}, {"name": "default", "template": "d"}]}"#;
        let files = files(
            dir.path(),
            &[(TOKENIZER, WORDS), (TOKENIZER_CONFIG, config), (MODEL_CONFIG, r#"{"max_position_embeddings": 7}"#)],
        );
        let m = TextModel::load(&files, None).unwrap();
        assert_eq!(m.kind, "tokenizer.json WordLevel");
        assert_eq!(m.eos(), Some(3));
        assert_eq!(m.context, Some(7));
        assert_eq!(m.chat_template.as_deref(), Some("d"));
        assert_eq!(m.tokenizer.vocab_size(), 5);
        assert_eq!(m.tokenizer.encode("good <end> <tool>good").unwrap(), [1, 0, 2, 0, 4, 1]);
        assert_eq!(m.tokenizer.decode(&[1, 3]).unwrap(), "good <end>");
        assert_eq!(m.tokenizer.decode(&[1, 99]).unwrap(), "good\u{fffd}");
    }

    #[test]
    fn a_control_token_among_the_pieces_is_broken_up() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null, "added_tokens": [
              {"id": 0, "content": "<unk>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
              {"id": 1, "content": "ab", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["ab", -1.0], ["a", -2.0], ["b", -2.0]]}}"#;
        let files = files(dir.path(), &[(TOKENIZER, text)]);
        let m = TextModel::load(&files, None).unwrap();
        assert_eq!(m.tokenizer.encode("bab").unwrap(), [3, 2, 3]);
        assert_eq!(m.tokenizer.encode("x").unwrap(), [0]);
    }

    #[test]
    fn damaged_files() {
        let dir = tempfile::tempdir().unwrap();
        let cut = files(dir.path(), &[(TOKENIZER, &WORDS[..200])]);
        assert!(TextModel::load(&cut, None).unwrap_err().message.starts_with("tokenizer.json:"));
        let bad_config = files(dir.path(), &[(TOKENIZER, WORDS), (TOKENIZER_CONFIG, "{")]);
        assert!(TextModel::load(&bad_config, None).unwrap_err().message.starts_with("tokenizer_config.json:"));
    }
}
