//! What lies beside a tokenizer's file: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::{
    library_tokenizer::library,
    pretrained_tokenizer::Files,
    tokenizer_config_keys::{NAMELESS, NAMES, check, check_map, object},
};
use crate::base::{
    error::{At, Error, IoAt, Result},
    strict_json,
};

pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const MODEL_CONFIG: &str = "config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// What classes of the reference call their control tokens where no file does.
const DEFAULTS: [(&str, &[(&str, &str)]); 3] = [
    ("LlamaTokenizer", &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]),
    (
        "BertTokenizer",
        &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    ),
    ("Qwen2Tokenizer", &[("unk_token", ENDOFTEXT), ("eos_token", ENDOFTEXT), ("pad_token", ENDOFTEXT)]),
];

const ENDOFTEXT: &str = "<|endoftext|>";

/// What the files beside a tokenizer's own say.
#[derive(Debug, Clone, Default)]
pub struct Settings {
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
    pub chat_template: Option<String>,
}

impl Settings {
    /// Reads what there is of the three files; `usual` is the class of a tokenizer for which they name none.
    ///
    /// # Errors
    /// If one is damaged, or holds a key that isn't understood.
    pub fn read(files: &Files, usual: Option<&str>) -> Result<Self> {
        let config = json(files, TOKENIZER_CONFIG)?;
        check(&config).at(TOKENIZER_CONFIG)?;
        let mut special = tokens_by_name(&config).at(TOKENIZER_CONFIG)?;
        let class = class(&config, &json(files, MODEL_CONFIG)?).or_else(|| usual.map(str::to_owned));
        let stated = match &config["added_tokens_decoder"] {
            // The reference reads the other two files only where this key is missing.
            Value::Null => {
                let map = json(files, SPECIAL_TOKENS_MAP)?;
                check_map(&map).at(SPECIAL_TOKENS_MAP)?;
                special.override_with(tokens_by_name(&map).at(SPECIAL_TOKENS_MAP)?);
                added(&json(files, ADDED_TOKENS)?, &special.contents()).at(ADDED_TOKENS)?
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
            chat_template: template(&config["chat_template"]),
        })
    }

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

/// # Errors
/// If a token has another id than its file says.
pub fn check_id(stated: Option<u32>, given: Option<u32>, name: &str) -> Result<()> {
    match (stated, given) {
        (Some(stated), Some(given)) if stated != given => Err(Error::input(format!(
            "the added token `{name}` has id {stated} in the files, and the vocabulary gives it {given}"
        ))
        .help("the files belong to different models, or one of them is cut short")),
        _ => Ok(()),
    }
}

/// Control tokens as a file names them.
#[derive(Default)]
struct Special {
    named: BTreeMap<String, AddedToken>,
    nameless: Vec<AddedToken>,
}

impl Special {
    fn override_with(&mut self, other: Self) {
        self.named.extend(other.named);
        if !other.nameless.is_empty() {
            self.nameless = other.nameless;
        }
    }

    /// Tokens that are stated with flags have those.
    fn keep_flags(&mut self, stated: &BTreeMap<u32, AddedToken>) {
        for token in self.named.values_mut() {
            if let Some(full) = stated.values().find(|full| full.content == token.content) {
                *token = full.clone();
            }
        }
    }

    /// Adds the names that `class` gives its control tokens, where `config` says nothing.
    fn fill(&mut self, class: Option<&str>, config: &Value) {
        let defaults = DEFAULTS.iter().find(|(name, _)| Some(*name) == class).map_or(&[][..], |(_, names)| names);
        for (name, token) in defaults.iter().filter(|(name, _)| config.get(name).is_none()) {
            self.named.entry((*name).to_owned()).or_insert_with(|| AddedToken::from(*token, true));
        }
    }

    fn contents(&self) -> BTreeSet<&str> {
        self.named.values().chain(&self.nameless).map(|token| token.content.as_str()).collect()
    }

    /// `stated`, and behind them the control tokens that aren't among them.
    fn after(&self, stated: BTreeMap<u32, AddedToken>) -> Vec<(Option<u32>, AddedToken)> {
        let named: BTreeSet<&str> = self.named.values().map(|token| token.content.as_str()).collect();
        let mut tokens: Vec<(Option<u32>, AddedToken)> = Vec::new();
        for (id, mut token) in stated {
            token.special |= named.contains(token.content.as_str());
            tokens.push((Some(id), token));
        }
        let first = NAMES.iter().filter_map(|name| self.named.get(*name));
        let own = self.named.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())).map(|(_, token)| token);
        for token in first.chain(own).chain(&self.nameless) {
            if !tokens.iter().any(|(_, t)| t.content == token.content) {
                tokens.push((None, token.clone()));
            }
        }
        tokens
    }
}

/// The control tokens that a file names.
fn tokens_by_name(file: &Value) -> Result<Special> {
    let mut special = Special::default();
    for (key, value) in object(file)?.into_iter().flatten() {
        if key.ends_with("_token") && (value.is_string() || value.is_object()) {
            special.named.insert(key.clone(), token(value, true).at(format!("`{key}`"))?);
        } else if NAMELESS.contains(&key.as_str()) {
            let (list, map) = (value.as_array().into_iter().flatten(), value.as_object());
            for one in list {
                special.nameless.push(token(one, true).at(format!("`{key}`"))?);
            }
            for (name, one) in map.into_iter().flatten() {
                special.named.insert(name.clone(), token(one, true).at(format!("`{key}`"))?);
            }
        }
    }
    Ok(special)
}

/// A token as a string, or as an object with its flags.
fn token(value: &Value, special: bool) -> Result<AddedToken> {
    let wrong = |what: String| Error::input(format!("an added token {what}"));
    if let Some(content) = value.as_str() {
        return Ok(AddedToken::from(content, special));
    }
    let map = value.as_object().ok_or_else(|| wrong(format!("is neither text nor an object: {value}")))?;
    let content = map.get("content").and_then(Value::as_str).ok_or_else(|| wrong("has no `content`".to_owned()))?;
    let mut token = AddedToken::from(content, special || map.get("special") == Some(&Value::Bool(true)));
    for (key, value) in map {
        let flag = || value.as_bool().ok_or_else(|| wrong(format!("has `{key}` = {value}, which is no flag")));
        match key.as_str() {
            "content" | "__type" | "id" => (),
            "lstrip" => token.lstrip = flag()?,
            "rstrip" => token.rstrip = flag()?,
            "single_word" => token.single_word = flag()?,
            "normalized" => token.normalized = flag()?,
            // What is named as a control token is one.
            "special" => token.special |= flag()?,
            _ => return Err(wrong(format!("has a flag that isn't supported: `{key}`"))),
        }
    }
    Ok(token)
}

/// `added_tokens_decoder`: tokens by their ids.
fn decoded(decoder: &Value) -> Result<BTreeMap<u32, AddedToken>> {
    let mut tokens = BTreeMap::new();
    for (id, value) in object(decoder).at("`added_tokens_decoder`")?.into_iter().flatten() {
        let number = id.parse().map_err(|_| Error::input(format!("`added_tokens_decoder` has the id `{id}`")))?;
        tokens.insert(number, token(value, false).at(format!("`added_tokens_decoder`, {id}"))?);
    }
    Ok(tokens)
}

/// `added_tokens.json`: ids by the tokens' names.
fn added(file: &Value, special: &BTreeSet<&str>) -> Result<BTreeMap<u32, AddedToken>> {
    let mut tokens = BTreeMap::new();
    for (name, id) in object(file)?.into_iter().flatten() {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let number = number.ok_or_else(|| Error::input(format!("`{name}` has the id {id}")))?;
        if let Some(twin) = tokens.insert(number, AddedToken::from(name.as_str(), special.contains(name.as_str()))) {
            return Err(Error::input(format!("`{}` and `{name}` have the same id {number}", twin.content)));
        }
    }
    Ok(tokens)
}

/// The template is a string, or the one called `default` among several.
fn template(value: &Value) -> Option<String> {
    let in_list = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(in_list).or_else(|| value["default"].as_str()).map(str::to_owned)
}

/// The file as JSON; null where the model has no such file.
pub fn json(files: &Files, name: &str) -> Result<Value> {
    let Some(path) = files.get(name) else { return Ok(Value::Null) };
    let bytes = std::fs::read(path).io_at("read", path)?;
    strict_json::parse(&bytes).map(Value::Object).at(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(contents: &[(&str, &str)]) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let write = |(name, text): &(&str, &str)| {
            std::fs::write(dir.path().join(name), text).unwrap();
            ((*name).to_owned(), Path::new(dir.path()).join(name))
        };
        Settings::read(&contents.iter().map(write).collect(), None)
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
