//! Control and added tokens as the files beside a tokenizer name them: `bos_token` and its like, `added_tokens_decoder`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokenizers::AddedToken;

use super::tokenizer_config_keys::{NAMELESS, NAMES, object};
use crate::base::error::{At, Error, Result};

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

/// Control tokens as a file names them.
#[derive(Default)]
pub struct SpecialTokens {
    /// By the names that chat templates know, such as `eos_token`.
    pub named: BTreeMap<String, AddedToken>,
    nameless: Vec<AddedToken>,
}

impl SpecialTokens {
    /// Takes over what another file names.
    pub fn override_with(&mut self, other: Self) {
        self.named.extend(other.named);
        if !other.nameless.is_empty() {
            self.nameless = other.nameless;
        }
    }

    /// Tokens that are stated with flags have those.
    pub fn keep_flags(&mut self, stated: &BTreeMap<u32, AddedToken>) {
        for token in self.named.values_mut() {
            if let Some(full) = stated.values().find(|full| full.content == token.content) {
                *token = full.clone();
            }
        }
    }

    /// Adds the names that `class` gives its control tokens, where `config` says nothing.
    pub fn fill(&mut self, class: Option<&str>, config: &Value) {
        let defaults = DEFAULTS.iter().find(|(name, _)| Some(*name) == class).map_or(&[][..], |(_, names)| names);
        for (name, token) in defaults.iter().filter(|(name, _)| config.get(name).is_none()) {
            self.named.entry((*name).to_owned()).or_insert_with(|| AddedToken::from(*token, true));
        }
    }

    /// The texts of all tokens.
    pub fn contents(&self) -> BTreeSet<&str> {
        self.named.values().chain(&self.nameless).map(|token| token.content.as_str()).collect()
    }

    /// `stated`, and behind them the control tokens that aren't among them.
    pub fn after(&self, stated: BTreeMap<u32, AddedToken>) -> Vec<(Option<u32>, AddedToken)> {
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
///
/// # Errors
/// If a token is neither text nor an object of known flags.
pub fn tokens_by_name(file: &Value) -> Result<SpecialTokens> {
    let mut special = SpecialTokens::default();
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
///
/// # Errors
/// If an id is none, or as for [`tokens_by_name`].
pub fn decoded(decoder: &Value) -> Result<BTreeMap<u32, AddedToken>> {
    let mut tokens = BTreeMap::new();
    for (id, value) in object(decoder).at("`added_tokens_decoder`")?.into_iter().flatten() {
        let number = id.parse().map_err(|_| Error::input(format!("`added_tokens_decoder` has the id `{id}`")))?;
        tokens.insert(number, token(value, false).at(format!("`added_tokens_decoder`, {id}"))?);
    }
    Ok(tokens)
}

/// `added_tokens.json`: ids by the tokens' names.
///
/// # Errors
/// If an id is none, or two tokens have the same.
pub fn added(file: &Value, special: &BTreeSet<&str>) -> Result<BTreeMap<u32, AddedToken>> {
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

/// Compares the id of a token with the one that a file states.
///
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
