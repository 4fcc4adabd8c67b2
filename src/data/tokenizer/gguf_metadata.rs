//! The keys of a GGUF file that tell of its tokenizer.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use crate::base::error::{Error, Result};

/// Keys below `tokenizer.` that are read here, or that change no id of a chat: marks for other uses, what is added where no
/// template does it, how pieces are rated by other models.
const KEYS: [&str; 15] = [
    "chat_template",
    "chat_templates",
    "huggingface.json",
    "ggml.model",
    "ggml.pre",
    "ggml.tokens",
    "ggml.token_type",
    "ggml.token_type_count",
    "ggml.scores",
    "ggml.merges",
    "ggml.add_bos_token",
    "ggml.add_eos_token",
    "ggml.add_sep_token",
    "ggml.added_tokens",
    "ggml.eot_token_ids",
];

/// Flags that would change ids, and are only understood where they are not set.
const UNSET: [&str; 2] = ["ggml.add_space_prefix", "ggml.remove_extra_whitespaces"];

/// Typed reading of GGUF's keys.
pub struct Metadata<'a>(pub &'a HashMap<String, Value>);

impl<'a> Metadata<'a> {
    /// # Errors
    /// If there is a key of the tokenizer that isn't understood.
    pub fn check(&self) -> Result<()> {
        // In an order of their own, so that the same one is named each time.
        let mut keys: Vec<(&str, &Value)> =
            self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix("tokenizer.")?, value))).collect();
        keys.sort_by_key(|(key, _)| *key);
        let known = |key: &str, value: &Value| {
            KEYS.contains(&key)
                || key.starts_with("chat_template.")
                || key.ends_with("_token_id")
                || (UNSET.contains(&key) && matches!(value, Value::Bool(false)))
        };
        match keys.iter().find(|(key, value)| !known(key, value)) {
            Some((key, _)) => Err(Error::input(format!("the key `tokenizer.{key}` isn't supported as it stands"))
                .help("add the model's `tokenizer.json` to its files to have that one used")),
            None => Ok(()),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    fn required(&self, key: &str) -> Result<&'a Value> {
        self.get(key)
            .ok_or_else(|| Error::input(format!("`{key}` is missing")).help("the file has no usable tokenizer"))
    }

    /// The value of a key that holds a text.
    ///
    /// # Errors
    /// If the key is missing, or holds something else.
    pub fn string(&self, key: &str) -> Result<&'a str> {
        as_string(key, self.required(key)?)
    }

    /// The value of a key that holds a list of texts.
    ///
    /// # Errors
    /// If the key is missing, or holds something else.
    pub fn strings(&self, key: &str) -> Result<Vec<&'a str>> {
        as_array(key, self.required(key)?)?.iter().map(|v| as_string(key, v)).collect()
    }

    /// The value of a key that holds a list of whole numbers.
    ///
    /// # Errors
    /// If the key is missing, or holds something else.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>> {
        as_array(key, self.required(key)?)?.iter().map(|v| as_integer(key, v)).collect()
    }

    /// The value of a key that holds a whole number, if it is there.
    ///
    /// # Errors
    /// If the key holds something else.
    pub fn optional_integer(&self, key: &str) -> Result<Option<i64>> {
        self.get(key).map(|v| as_integer(key, v)).transpose()
    }
}

fn as_array<'a>(key: &str, value: &'a Value) -> Result<&'a [Value]> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Error::input(format!("`{key}` isn't a list"))),
    }
}

fn as_string<'a>(key: &str, value: &'a Value) -> Result<&'a str> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::input(format!("`{key}` isn't text"))),
    }
}

fn as_integer(key: &str, value: &Value) -> Result<i64> {
    match value {
        Value::U8(n) => Ok(i64::from(*n)),
        Value::I8(n) => Ok(i64::from(*n)),
        Value::U16(n) => Ok(i64::from(*n)),
        Value::I16(n) => Ok(i64::from(*n)),
        Value::U32(n) => Ok(i64::from(*n)),
        Value::I32(n) => Ok(i64::from(*n)),
        Value::I64(n) => Ok(*n),
        Value::U64(n) => i64::try_from(*n).map_err(|_| Error::input(format!("`{key}` is out of range: {n}"))),
        _ => Err(Error::input(format!("`{key}` isn't a whole number"))),
    }
}
