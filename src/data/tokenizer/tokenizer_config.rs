//! What lies beside a tokenizer's file: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`,
//! `chat_template.jinja`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::{
    library_tokenizer::library,
    special_tokens::{added, check_id, decoded, tokens_by_name},
    tokenizer_config_keys::{check, check_map},
    tokenizer_files::{Files, MODEL_CONFIG, read_json},
};
use crate::base::error::{At, IoAt, Result};

/// The file in which most of it stands.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// The keys under which a model configuration gives its context, by family.
const CONTEXT_KEYS: [&str; 3] = ["max_position_embeddings", "seq_length", "n_positions"];

/// What the files beside a tokenizer's own say.
#[derive(Debug, Clone, Default)]
pub struct TokenizerConfig {
    /// `bos_token` and its like, as chat templates know them.
    pub named: BTreeMap<String, String>,
    /// Tokens to add to the vocabulary, in this order; those with an id must get that one.
    pub tokens: Vec<(Option<u32>, AddedToken)>,
    /// The class that the reference reads the tokenizer with, without `Fast` at its end.
    pub class: Option<String>,
    pub legacy: Option<bool>,
    pub add_prefix_space: Option<bool>,
    pub do_lower_case: Option<bool>,
    pub strip_accents: Option<bool>,
    pub tokenize_chinese_chars: Option<bool>,
    /// The template that the files bring, if any.
    pub chat_template: Option<String>,
    /// Tokens that the model was made to read at most, where its configuration says it.
    pub context: Option<usize>,
}

impl TokenizerConfig {
    /// Reads what there is of those files and of the model's `config.json`; `usual` is the class of a tokenizer for which they name none.
    ///
    /// # Errors
    /// If one is damaged, or holds a key that isn't understood.
    pub fn read(files: &Files, usual: Option<&str>) -> Result<Self> {
        let config = read_json(files, TOKENIZER_CONFIG)?;
        check(&config).at(TOKENIZER_CONFIG)?;
        let mut special = tokens_by_name(&config).at(TOKENIZER_CONFIG)?;
        let model = read_json(files, MODEL_CONFIG)?;
        let class = class(&config, &model).or_else(|| usual.map(str::to_owned));
        let stated = match &config["added_tokens_decoder"] {
            // The reference reads the other two files only where this key is missing.
            Value::Null => {
                let map = read_json(files, SPECIAL_TOKENS_MAP)?;
                check_map(&map).at(SPECIAL_TOKENS_MAP)?;
                special.override_with(tokens_by_name(&map).at(SPECIAL_TOKENS_MAP)?);
                added(&read_json(files, ADDED_TOKENS)?, &special.contents()).at(ADDED_TOKENS)?
            }
            decoder => decoded(decoder).at(TOKENIZER_CONFIG)?,
        };
        special.keep_flags(&stated);
        special.fill(class.as_deref(), &config);
        let flag = |key: &str| config[key].as_bool();
        Ok(Self {
            named: special.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect(),
            tokens: special.after(stated),
            class,
            legacy: flag("legacy"),
            add_prefix_space: flag("add_prefix_space"),
            do_lower_case: flag("do_lower_case"),
            strip_accents: flag("strip_accents"),
            tokenize_chinese_chars: flag("tokenize_chinese_chars"),
            chat_template: template(files, &config["chat_template"])?,
            context: context(&model),
        })
    }

    /// Whether the reference reads the tokenizer with this class.
    pub fn is_of(&self, class: &str) -> bool {
        self.class.as_deref() == Some(class)
    }

    /// Before which text `LlamaTokenizer` puts a blank, in the words of `Metaspace`.
    pub fn llama_prefix(&self) -> &'static str {
        match (self.add_prefix_space, self.legacy) {
            (Some(false), _) => "never",
            (_, Some(true)) => "always",
            _ => "first",
        }
    }

    /// Adds the tokens to a tokenizer of the crate.
    ///
    /// # Errors
    /// If a token gets another id than the files say.
    pub fn add_to(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
        let known: BTreeSet<String> =
            tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
        let new = self.tokens.iter().filter(|(id, token)| id.is_some() || !known.contains(&token.content));
        tokenizer.add_tokens(new.map(|(_, token)| token.clone())).map_err(library)?;
        for (stated, token) in &self.tokens {
            check_id(*stated, tokenizer.token_to_id(&token.content), &token.content)?;
        }
        Ok(())
    }
}

/// The class that the reference reads a tokenizer with, where it matters which one it is.
fn class(config: &Value, model: &Value) -> Option<String> {
    let stated = config["tokenizer_class"].as_str().map(|class| class.strip_suffix("Fast").unwrap_or(class));
    let family = model["model_type"].as_str();
    let class = match (stated, family) {
        // Other families' files that name this class are read as they stand.
        (Some("LlamaTokenizer"), Some(family)) if family != "llama" => None,
        (None, Some("bert")) => Some("BertTokenizer"),
        (None, Some("qwen2")) => Some("Qwen2Tokenizer"),
        (stated, _) => stated,
    };
    class.map(str::to_owned)
}

/// A file of its own, or else a key: a string, or the one called `default` among several.
fn template(files: &Files, key: &Value) -> Result<Option<String>> {
    if let Some(path) = files.get(CHAT_TEMPLATE) {
        return std::fs::read_to_string(path).io_at("read", path).map(Some);
    }
    let in_list = || key.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    Ok(key.as_str().or_else(in_list).or_else(|| key["default"].as_str()).map(str::to_owned))
}

fn context(model: &Value) -> Option<usize> {
    CONTEXT_KEYS.iter().find_map(|key| model[*key].as_u64()).and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(contents: &[(&str, &str)]) -> Result<TokenizerConfig> {
        let dir = tempfile::tempdir().unwrap();
        let write = |(name, text): &(&str, &str)| {
            std::fs::write(dir.path().join(name), text).unwrap();
            ((*name).to_owned(), Path::new(dir.path()).join(name))
        };
        TokenizerConfig::read(&contents.iter().map(write).collect(), None)
    }

    fn refused(name: &str, text: &str) -> String {
        read(&[(name, text)]).unwrap_err().message
    }

    #[test]
    fn tokens_keep_the_flags_that_they_are_stated_with() {
        let config = r#"{"eos_token": "<e>", "pad_token": null, "image_token": "<i>", "extra_special_tokens": ["<x>"],
            "added_tokens_decoder": {"7": {"content": "<e>", "lstrip": true, "normalized": false}, "5": {"content": "w"}}}"#;
        let settings = read(&[(TOKENIZER_CONFIG, config), (ADDED_TOKENS, r#"{"never": 9}"#)]).unwrap();
        let tokens: Vec<_> = settings.tokens.iter().map(|(id, t)| (*id, t.content.as_str(), t.special)).collect();
        let expected = [(Some(5), "w", false), (Some(7), "<e>", true), (None, "<i>", true), (None, "<x>", true)];
        assert_eq!(tokens, expected);
        assert!(settings.tokens[1].1.lstrip && settings.tokens[0].1.normalized);
        assert_eq!(
            settings.named,
            BTreeMap::from([("eos_token", "<e>"), ("image_token", "<i>")].map(|(k, v)| (k.to_owned(), v.to_owned())))
        );
    }

    #[test]
    fn older_files_are_read_where_the_configuration_names_no_tokens() {
        let settings = read(&[
            (TOKENIZER_CONFIG, r#"{"eos_token": "</s>", "bos_token": "<s>"}"#),
            (
                SPECIAL_TOKENS_MAP,
                r#"{"eos_token": {"content": "<e>", "rstrip": true}, "additional_special_tokens": ["<u>"]}"#,
            ),
            (ADDED_TOKENS, r#"{"<u>": 4, "word": 5}"#),
        ])
        .unwrap();
        let tokens: Vec<_> = settings.tokens.iter().map(|(id, t)| (*id, t.content.as_str(), t.normalized)).collect();
        assert_eq!(
            tokens,
            [(Some(4), "<u>", false), (Some(5), "word", true), (None, "<s>", false), (None, "<e>", false)]
        );
        assert!(settings.tokens[3].1.rstrip);
    }

    #[test]
    fn classes_name_their_tokens() {
        let of = |config: &str, model: &str| read(&[(TOKENIZER_CONFIG, config), (MODEL_CONFIG, model)]).unwrap();
        let llama = of(r#"{"tokenizer_class": "LlamaTokenizerFast", "eos_token": null}"#, r#"{"model_type": "llama"}"#);
        assert!(llama.is_of("LlamaTokenizer") && !llama.named.contains_key("eos_token"));
        assert_eq!((llama.named["bos_token"].as_str(), llama.llama_prefix()), ("<s>", "first"));
        assert!(of(r#"{"tokenizer_class": "LlamaTokenizer"}"#, r#"{"model_type": "mistral"}"#).class.is_none());
        assert!(of("{}", r#"{"model_type": "bert"}"#).is_of("BertTokenizer"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for known in [
            r#"{"model_max_length": 1000000000000000019884624838656, "clean_up_tokenization_spaces": true, "x": null}"#,
            r#"{"add_bos_token": true, "sp_model_kwargs": {}, "split_special_tokens": false, "image_token_id": 4}"#,
        ] {
            read(&[(TOKENIZER_CONFIG, known)]).unwrap();
        }
        assert!(refused(TOKENIZER_CONFIG, r#"{"magic": 1}"#).contains("`magic` = 1"));
        assert!(refused(TOKENIZER_CONFIG, r#"{"split_special_tokens": true}"#).contains("split_special_tokens"));
        assert!(refused(TOKENIZER_CONFIG, r#"{"sp_model_kwargs": {"alpha": 0.1}}"#).contains("sp_model_kwargs"));
        assert!(refused(TOKENIZER_CONFIG, r#"{"eos_token": {"content": "x", "fuzzy": true}}"#).contains("`fuzzy`"));
        assert!(refused(TOKENIZER_CONFIG, r#"{"eos_token": {"content": "x", "lstrip": 1}}"#).contains("no flag"));
        assert!(
            refused(TOKENIZER_CONFIG, r#"{"added_tokens_decoder": {"x": {"content": "y"}}}"#).contains("the id `x`")
        );
        assert!(refused(SPECIAL_TOKENS_MAP, r#"{"magic": "x"}"#).contains("`magic`"));
        assert!(refused(ADDED_TOKENS, r#"{"a": -1}"#).contains("`a` has the id -1"));
        assert!(refused(ADDED_TOKENS, r#"{"a": 1, "b": 1}"#).contains("same id"));
        assert!(refused(ADDED_TOKENS, "[]").contains("not an object"));
    }
}
