//! The keys of an `adapter_config.json`. Whoever reads one takes it out; what is left in the end is refused.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::peft_files::CONFIG_FILE;
use crate::base::{
    error::{At, Error, Result},
    strict_json,
};

/// What nobody has read yet.
#[derive(Debug)]
pub struct Keys(Map<String, Value>);

impl Keys {
    /// # Errors
    /// If it isn't a JSON object, or says a key twice.
    pub fn parse(config: &[u8]) -> Result<Self> {
        strict_json::parse(config).map(Self).at(CONFIG_FILE)
    }

    /// The value of `key`; None: it isn't stated, or null. `what` says what it has to be.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str, what: &str) -> Result<Option<T>> {
        match self.0.shift_remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let shown = shown(&value);
                let wrong = |_| Error::input(format!("`{key}` is {shown}, not {what}")).at(CONFIG_FILE);
                serde_json::from_value(value).map(Some).map_err(wrong)
            }
        }
    }

    /// Keys that can't change what an adapter computes.
    pub fn skip(&mut self, keys: &[&str]) {
        self.0.retain(|key, _| !keys.contains(&key.as_str()));
    }

    /// Keys for what isn't supported: they may say that it isn't used, and nothing else.
    ///
    /// # Errors
    /// The first key that says something else.
    pub fn unused(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            match self.0.shift_remove(*key) {
                None | Some(Value::Null | Value::Bool(false)) => (),
                Some(Value::Array(list)) if list.is_empty() => (),
                Some(value) => {
                    return Err(Error::input(format!("`{key}` is {}, which isn't supported", shown(&value)))
                        .help("the adapter would compute something else without it: take another one"))
                    .at(CONFIG_FILE);
                }
            }
        }
        Ok(())
    }

    /// Nothing that says something may be left. A key without a value says nothing.
    ///
    /// # Errors
    /// The first key that is left, and how many others there are.
    pub fn finish(self) -> Result<()> {
        let left: Vec<_> = self.0.iter().filter(|(_, value)| !value.is_null()).collect();
        let Some((key, value)) = left.first() else { return Ok(()) };
        let others = match left.len() {
            1 => String::new(),
            n => format!(", like {} other keys", n - 1),
        };
        Err(Error::input(format!("`{key}` is {}, and nothing is known of that key{others}", shown(value))).help(
            "the adapter may compute something else with it. If you know that it doesn't matter, \
             use a copy of the file without the key",
        ))
        .at(CONFIG_FILE)
    }
}

/// A value for messages.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_says_two_things_is_refused() {
        let e = Keys::parse(br#"{"r": 8, "r": 16}"#).unwrap_err();
        assert!(e.message.contains(CONFIG_FILE) && e.message.contains("`r` is there twice"), "{e}");
    }
}
