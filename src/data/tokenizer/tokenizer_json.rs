//! `tokenizer.json`, as the Hugging Face hub has it, with the files beside it.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;

use super::{
    library_tokenizer::LibraryTokenizer,
    pretrained_tokenizer::PretrainedTokenizer,
    special_tokens::check_id,
    tokenizer_config::TokenizerConfig,
    tokenizer_format::{Origin, TokenizerFormat},
    tokenizer_json_keys,
};
use crate::base::{
    error::{At, Error, IoAt, Result},
    strict_json,
};

const TOKENIZER: &str = "tokenizer.json";

/// The format of `tokenizer.json`.
pub struct TokenizerJson;

impl TokenizerFormat for TokenizerJson {
    fn file_name(&self) -> &'static str {
        TOKENIZER
    }

    fn load(&self, path: &Path, origin: &Origin<'_>) -> Result<PretrainedTokenizer> {
        let bytes = std::fs::read(path).io_at("read", path)?;
        let config = TokenizerConfig::read(origin.files, None)?;
        let mut inner = tokenizer(&bytes, &config).at(TOKENIZER)?;
        config.add_to(&mut inner)?;
        let model = match inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        };
        let tokenizer = Box::new(LibraryTokenizer::new(inner));
        Ok(PretrainedTokenizer::new(format!("{TOKENIZER} {model}"), tokenizer, config, origin.convention))
    }
}

/// The crate's tokenizer, changed as the reference changes it for the class that `config` name.
fn tokenizer(bytes: &[u8], config: &TokenizerConfig) -> Result<tokenizers::Tokenizer> {
    let damaged = |e: &dyn std::fmt::Display| {
        Error::input(e)
            .help("the file is damaged, or newer than this program knows: fetch it again, and compare its hash")
    };
    let mut value = Value::Object(strict_json::parse(bytes)?);
    tokenizer_json_keys::check(&value)?;
    let changed = adapt(&mut value, config);
    let own = if changed { value.to_string().into_bytes() } else { bytes.to_vec() };
    let inner = tokenizers::Tokenizer::from_bytes(own).map_err(|e| damaged(&e))?;
    for token in value["added_tokens"].as_array().into_iter().flatten() {
        let name = token["content"].as_str().unwrap_or_default();
        let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        check_id(id, inner.token_to_id(name), name)?;
    }
    Ok(inner)
}

/// Some classes of the reference build parts of their tokenizer themselves, whatever the file says.
fn adapt(tokenizer: &mut Value, config: &TokenizerConfig) -> bool {
    if config.is_of("LlamaTokenizer") && !is_byte_level(tokenizer) {
        tokenizer["normalizer"] = Value::Null;
        tokenizer["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": config.llama_prefix(), "split": false});
    } else if config.is_of("BertTokenizer") && tokenizer["model"]["type"] == "WordPiece" {
        tokenizer["normalizer"] = json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": config.tokenize_chinese_chars.unwrap_or(true),
            "strip_accents": config.strip_accents,
            "lowercase": config.do_lower_case.unwrap_or(true),
        });
        tokenizer["pre_tokenizer"] = json!({"type": "BertPreTokenizer"});
    } else if ["GPT2Tokenizer", "RobertaTokenizer"].iter().any(|class| config.is_of(class))
        && tokenizer["pre_tokenizer"]["type"] == "ByteLevel"
    {
        tokenizer["pre_tokenizer"]["add_prefix_space"] = config.add_prefix_space.unwrap_or(false).into();
    } else {
        return false;
    }
    true
}

fn is_byte_level(tokenizer: &Value) -> bool {
    let is = |part: &Value| part["type"] == "ByteLevel";
    let inside = |part: &Value, key: &str| part[key].as_array().is_some_and(|parts| parts.iter().any(is));
    let (before, after) = (&tokenizer["pre_tokenizer"], &tokenizer["decoder"]);
    is(before) || inside(before, "pretokenizers") || is(after) || inside(after, "decoders")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::{
        tokenizer_files::{Files, MODEL_CONFIG},
        tokenizer_input::TokenizerInput,
    };

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
            &[
                (TOKENIZER, WORDS),
                ("tokenizer_config.json", config),
                (MODEL_CONFIG, r#"{"max_position_embeddings": 7}"#),
            ],
        );
        let m = PretrainedTokenizer::load(&files, None).unwrap();
        assert_eq!(m.kind, "tokenizer.json WordLevel");
        assert_eq!(m.eos(), Some(3));
        assert_eq!(m.context, Some(7));
        assert_eq!(m.chat_template.as_deref(), Some("d"));
        assert_eq!(m.tokenizer.vocab_size(), 5);
        assert_eq!(m.tokenizer.encode_words("good <end> <tool>good").unwrap(), [1, 0, 2, 0, 0, 0, 0, 1]);
        let template = TokenizerInput::new("good <end> <tool>good", Vec::new(), m.tokenizer.added().control());
        assert_eq!(m.tokenizer.encode(&template).unwrap(), [1, 3, 4, 1]);
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
        let m = PretrainedTokenizer::load(&files, None).unwrap();
        assert_eq!(m.tokenizer.encode_words("bab").unwrap(), [3, 2, 3]);
        assert_eq!(m.tokenizer.encode_words("x").unwrap(), [0]);
    }

    #[test]
    fn damaged_files() {
        let dir = tempfile::tempdir().unwrap();
        let cut = files(dir.path(), &[(TOKENIZER, &WORDS[..200])]);
        assert!(PretrainedTokenizer::load(&cut, None).unwrap_err().message.starts_with("tokenizer.json:"));
        let two = r#"{"eos_token": "</s>", "eos_token": "<end>"}"#;
        let twice = files(dir.path(), &[(TOKENIZER, WORDS), ("tokenizer_config.json", two)]);
        assert!(PretrainedTokenizer::load(&twice, None).unwrap_err().message.contains("`eos_token` is there twice"));
        let bad_config = files(dir.path(), &[(TOKENIZER, WORDS), ("tokenizer_config.json", "{")]);
        assert!(
            PretrainedTokenizer::load(&bad_config, None).unwrap_err().message.starts_with("tokenizer_config.json:")
        );
    }
}
