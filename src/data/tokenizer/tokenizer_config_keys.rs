//! The keys of the files beside a tokenizer's own: what is read of them, what changes no id, and what is refused.

use serde_json::{Map, Value};

use crate::base::error::{Error, Result};

/// The names of control tokens that all models share, in the order in which the reference adds them.
pub const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Control tokens without a name of their own.
pub const NAMELESS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// What this program uses of `tokenizer_config.json`, next to control tokens.
const USED: [&str; 8] = [
    "added_tokens_decoder",
    "chat_template",
    "tokenizer_class",
    "legacy",
    "add_prefix_space",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
];

/// Keys that change no id of a chat: how texts are padded, shortened, marked where no template does it, shown, or where
/// files came from.
const WITHOUT_EFFECT: [&str; 62] = [
    "_commit_hash",
    "add_bos_token",
    "add_eos_token",
    "add_special_tokens",
    "audio_tokenizer",
    "auto_map",
    "backend",
    "chat_control_tokens",
    "clean_up_tokenization_spaces",
    "device_map",
    "errors",
    "extra_ids",
    "files_loaded",
    "fix_mistral_regex",
    "full_tokenizer_file",
    "image_processor_type",
    "init_inputs",
    "is_local",
    "language",
    "local_files_only",
    "max_len",
    "max_length",
    "max_pixels",
    "merges_file",
    "min_pixels",
    "model_input_names",
    "model_max_length",
    "model_type",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "predict_timestamps",
    "processor_class",
    "response_schema",
    "response_template",
    "return_attention_mask",
    "return_token_type_ids",
    "source_lang",
    "spaces_between_special_tokens",
    "special_tokens_map_file",
    "src_lang",
    "stride",
    "subfolder",
    "target_lang",
    "task",
    "tgt_lang",
    "tokenizer_file",
    "tokenizer_type",
    "torch_dtype",
    "transformers_version",
    "trim_offsets",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "use_default_system_prompt",
    "use_fast",
    "verbose",
    "vocab_file",
    "vocab_size",
    "vocab_type",
];

/// Whether a key's value changes nothing.
type Fits = fn(&Value) -> bool;

/// Keys that would change ids, but for one value.
const ONLY_AS: [(&str, Fits); 10] = [
    ("split_special_tokens", |v| *v == false),
    ("encode_special_tokens", |v| *v == false),
    ("from_slow", |v| *v == false),
    ("do_basic_tokenize", |v| *v == true),
    ("never_split", |v| v.as_array().is_some_and(Vec::is_empty)),
    ("wordpieces_prefix", |v| *v == "##"),
    ("sp_model_kwargs", |v| v.as_object().is_some_and(Map::is_empty)),
    ("remove_space", |v| v.is_boolean()),
    ("split_by_punct", |v| *v == false),
    ("keep_accents", |v| *v == true),
];

/// # Errors
/// If it is something else; null is none.
pub fn object(value: &Value) -> Result<Option<&Map<String, Value>>> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        _ => Err(Error::input("it isn't a JSON object")),
    }
}

fn names_a_token(key: &str) -> bool {
    NAMES.contains(&key) || NAMELESS.contains(&key)
}

/// # Errors
/// If `tokenizer_config.json` holds a key that isn't understood.
pub fn check(config: &Value) -> Result<()> {
    for (key, value) in object(config)?.into_iter().flatten() {
        let key = key.as_str();
        let harmless = value.is_null()
            || names_a_token(key)
            || USED.contains(&key)
            || WITHOUT_EFFECT.contains(&key)
            || ONLY_AS.iter().any(|(name, fits)| *name == key && fits(value))
            // A control token that this model alone has: a string or an object, read like the others.
            || key.ends_with("_token")
            // Flags and numbers of tokens, such as `image_token_id` and `add_bos_token`.
            || key.ends_with("_token_id")
            || key.ends_with("_token_type");
        if !harmless {
            return Err(Error::input(format!("`{key}` = {value} isn't supported"))
                .help("if it changes no token id, remove it from a copy of the file"));
        }
    }
    Ok(())
}

/// # Errors
/// If `special_tokens_map.json` holds a key that isn't understood.
pub fn check_map(map: &Value) -> Result<()> {
    let unknown = |key: &&String| !names_a_token(key) && !key.ends_with("_token");
    match object(map)?.and_then(|map| map.keys().find(unknown)) {
        Some(key) => Err(Error::input(format!("`{key}` isn't supported")).help("the file names control tokens")),
        None => Ok(()),
    }
}
