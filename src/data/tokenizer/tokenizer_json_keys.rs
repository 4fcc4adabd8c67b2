//! What a `tokenizer.json` may hold. A part that isn't listed here is refused by its name, since the `tokenizers` crate
//! passes over keys that it doesn't know.

use serde_json::{Map, Value};

use super::precompiled_charsmap::PrecompiledCharsmap;
use crate::base::error::{Error, Result};

/// A kind of part: its name and its keys, next to `type`.
type Kind = (&'static str, &'static [&'static str]);

const NORMALIZERS: [Kind; 14] = [
    ("BertNormalizer", &["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]),
    ("Strip", &["strip_left", "strip_right"]),
    ("StripAccents", &[]),
    ("NFC", &[]),
    ("NFD", &[]),
    ("NFKC", &[]),
    ("NFKD", &[]),
    ("Sequence", &["normalizers"]),
    ("Lowercase", &[]),
    ("Nmt", &[]),
    ("Precompiled", &["precompiled_charsmap"]),
    ("Replace", &["pattern", "content"]),
    ("Prepend", &["prepend"]),
    ("ByteLevel", &["add_prefix_space", "trim_offsets", "use_regex"]),
];

const PRE_TOKENIZERS: [Kind; 12] = [
    ("BertPreTokenizer", &[]),
    ("ByteLevel", &["add_prefix_space", "trim_offsets", "use_regex"]),
    ("CharDelimiterSplit", &["delimiter"]),
    ("Metaspace", &["replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"]),
    ("Whitespace", &[]),
    ("WhitespaceSplit", &[]),
    ("Sequence", &["pretokenizers"]),
    ("Split", &["pattern", "behavior", "invert"]),
    ("Punctuation", &["behavior"]),
    ("Digits", &["individual_digits"]),
    ("UnicodeScripts", &[]),
    ("FixedLength", &["length"]),
];

const MODELS: [Kind; 4] = [
    (
        "BPE",
        &[
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "fuse_unk",
            "byte_fallback",
            "ignore_merges",
            "vocab",
            "merges",
        ],
    ),
    ("WordPiece", &["unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"]),
    ("WordLevel", &["vocab", "unk_token"]),
    ("Unigram", &["unk_id", "vocab", "byte_fallback"]),
];

/// They add marks around a text, which a chat template does itself.
const POST_PROCESSORS: [Kind; 5] = [
    ("TemplateProcessing", &["single", "pair", "special_tokens"]),
    ("BertProcessing", &["sep", "cls"]),
    ("RobertaProcessing", &["sep", "cls", "trim_offsets", "add_prefix_space"]),
    ("ByteLevel", &["add_prefix_space", "trim_offsets", "use_regex"]),
    ("Sequence", &["processors"]),
];

const TOP: [&str; 9] = [
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
];

const ADDED_TOKEN: [&str; 7] = ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"];

/// Parts inside parts: no tokenizer has more than a few.
const DEPTH: usize = 16;

/// # Errors
/// If the file holds something that isn't understood, or that has no single meaning.
pub fn check(tokenizer: &Value) -> Result<()> {
    let Some(top) = tokenizer.as_object() else { return Err(Error::input("it isn't a JSON object")) };
    known(top, "the file", &TOP)?;
    part(&tokenizer["normalizer"], "normalizer", &NORMALIZERS, DEPTH)?;
    part(&tokenizer["pre_tokenizer"], "pre_tokenizer", &PRE_TOKENIZERS, DEPTH)?;
    part(&tokenizer["post_processor"], "post_processor", &POST_PROCESSORS, DEPTH)?;
    model(&tokenizer["model"])?;
    for token in list(&tokenizer["added_tokens"]) {
        known(token.as_object().unwrap_or(&Map::new()), "an added token", &ADDED_TOKEN)?;
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A key that says nothing (null) is let through.
fn known(map: &Map<String, Value>, place: &str, keys: &[&str]) -> Result<()> {
    match map.iter().find(|(key, value)| !value.is_null() && !keys.contains(&key.as_str())) {
        Some((key, _)) => Err(unsupported(format!("`{key}` of {place}"))),
        None => Ok(()),
    }
}

fn unsupported(what: String) -> Error {
    Error::input(format!("{what} isn't supported"))
        .help("this program would give other token ids than the model's own tokenizer")
}

/// A part of the pipeline and the parts inside it.
fn part(value: &Value, role: &str, kinds: &[Kind], depth: usize) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let name = value["type"].as_str().unwrap_or_default();
    let kind = kinds.iter().find(|(known, _)| *known == name).filter(|_| depth > 0);
    let (Some(map), Some((_, keys))) = (value.as_object(), kind) else {
        return Err(unsupported(format!("the {role} `{name}`")));
    };
    let keys: Vec<&str> = keys.iter().copied().chain(["type"]).collect();
    known(map, &format!("the {role} `{name}`"), &keys)?;
    for inner in ["normalizers", "pretokenizers", "processors"].iter().flat_map(|key| list(&value[*key])) {
        part(inner, role, kinds, depth - 1)?;
    }
    sound(value, name).map_err(|e| e.at(format!("the {role} `{name}`")))
}

/// What the crate takes for granted and a damaged file may not have.
fn sound(value: &Value, name: &str) -> Result<()> {
    match name {
        "Precompiled" => {
            let text = value["precompiled_charsmap"].as_str().unwrap_or_default();
            PrecompiledCharsmap::from_base64(text).map(drop)
        }
        "FixedLength" if value["length"].as_u64() == Some(0) => Err(Error::input("`length` is 0")),
        "Split" | "Replace" => pattern(&value["pattern"]),
        _ => Ok(()),
    }
}

fn pattern(pattern: &Value) -> Result<()> {
    match pattern["Regex"].as_str().or_else(|| pattern["String"].as_str()) {
        Some("") => Err(Error::input("`pattern` is empty")),
        _ => Ok(()),
    }
}

fn model(model: &Value) -> Result<()> {
    let Some(map) = model.as_object() else { return Err(Error::input("it has no `model`")) };
    // Older files don't name the type: the crate tells it by the keys.
    let name = model["type"].as_str();
    let kind = MODELS.iter().find(|(known, _)| Some(*known) == name);
    let keys: Vec<&str> = match (name, kind) {
        (None, _) => MODELS.iter().flat_map(|(_, keys)| *keys).copied().collect(),
        (Some(_), Some((_, keys))) => keys.iter().copied().chain(["type"]).collect(),
        (Some(name), None) => return Err(unsupported(format!("the model `{name}`"))),
    };
    known(map, &format!("the model `{}`", name.unwrap_or_default()), &keys)?;
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        return Err(Error::input("`dropout` of the model makes ids a matter of chance")
            .help("set it to null in `tokenizer.json`"));
    }
    merges(model)
}

/// Every merge must join two tokens to a third: the crate has no room for a longer one.
fn merges(model: &Value) -> Result<()> {
    let Some(vocab) = model["vocab"].as_object() else { return Ok(()) };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    // Older files have a line for the version among them.
    let is_merge = |merge: &&Value| !merge.as_str().is_some_and(|line| line.starts_with("#version"));
    for (merge, number) in list(&model["merges"]).iter().filter(is_merge).zip(1..) {
        let pair = merge.as_str().and_then(|pair| pair.split_once(' '));
        let pair = pair.or_else(|| Some((merge[0].as_str()?, merge[1].as_str()?)));
        let joined = pair.and_then(|(left, right)| Some(format!("{left}{}", right.strip_prefix(prefix)?)));
        if !joined.is_some_and(|joined| vocab.contains_key(&joined)) {
            return Err(Error::input(format!("merge {number} ({merge}) doesn't join two tokens to a third")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(key: &str, value: Value) -> Value {
        let mut whole = json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "u"}});
        whole[key] = value;
        whole
    }

    fn refused(key: &str, value: Value) -> String {
        check(&with(key, value)).unwrap_err().message
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert!(check(&with("normalizer", Value::Null)).is_ok());
        assert!(check(&with("future", Value::Null)).is_ok());
        assert_eq!(refused("future", json!(1)), "`future` of the file isn't supported");
        assert!(refused("normalizer", json!({"type": "Magic"})).contains("normalizer `Magic`"));
        let inner = json!({"type": "Sequence", "normalizers": [{"type": "NFC", "strength": 2}]});
        assert!(refused("normalizer", inner).contains("`strength` of the normalizer `NFC`"));
        assert!(refused("pre_tokenizer", json!({"type": "Metaspace", "x": 1})).contains("`x` of"));
        assert!(refused("post_processor", json!({"type": "X"})).contains("post_processor `X`"));
        assert!(refused("model", json!({"type": "Neural"})).contains("model `Neural`"));
        assert!(refused("model", json!({"type": "BPE", "vocab": {}, "merges": [], "x": true})).contains("`x` of"));
        assert!(refused("added_tokens", json!([{"id": 1, "content": "a", "regex": true}])).contains("`regex`"));
    }

    #[test]
    fn what_the_crate_would_fall_over_is_refused() {
        let bpe = |key: &str, value: Value| {
            let mut model = json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]});
            model[key] = value;
            model
        };
        assert!(check(&with("model", bpe("dropout", json!(0.0)))).is_ok());
        assert!(refused("model", bpe("dropout", json!(0.1))).contains("matter of chance"));
        assert!(refused("model", bpe("continuing_subword_prefix", json!("##"))).contains("merge 1"));
        assert!(refused("model", bpe("merges", json!(["a b", "ab ab"]))).contains("merge 2 (\"ab ab\")"));
        assert!(refused("pre_tokenizer", json!({"type": "FixedLength", "length": 0})).contains("`length` is 0"));
        let empty = json!({"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": false});
        assert!(refused("pre_tokenizer", empty).contains("`pattern` is empty"));
        let rules = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
        assert!(refused("normalizer", rules).contains("rules are damaged"));
        let mut deep = json!({"type": "NFC"});
        for _ in 0..100 {
            deep = json!({"type": "Sequence", "normalizers": [deep]});
        }
        assert!(refused("normalizer", deep).contains("isn't supported"));
    }
}
