//! Keys of a configuration whose value can only be what is computed anyway.

use serde_json::Value;

use super::model_config::{Config, same, show};
use crate::base::error::Result;

/// Every function refuses another value by the key's name. A key that isn't there asks for nothing else.
impl Config {
    /// Refuses every value but the one that is computed here. A key that isn't there asks for nothing else.
    ///
    /// # Errors
    /// If it has another value.
    pub fn expect(&self, key: &str, supported: impl Into<Value>) -> Result<()> {
        self.expect_one_of(key, &[supported.into()])
    }

    /// As [`Config::expect`], where several values mean the same.
    ///
    /// # Errors
    /// If it has another value.
    pub fn expect_one_of(&self, key: &str, supported: &[Value]) -> Result<()> {
        match self.get(key) {
            Some(value) if !supported.iter().any(|s| same(s, value)) => {
                let supported = supported.iter().map(show).collect::<Vec<_>>().join(" or ");
                Err(self.wrong_key(key, format!("is {}; only {supported} is supported", show(value))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a list with anything but the one value that is computed here.
    ///
    /// # Errors
    /// If it has another value.
    pub fn expect_each(&self, key: &str, supported: impl Into<Value>) -> Result<()> {
        let supported = supported.into();
        let other = match self.get(key) {
            None => return Ok(()),
            Some(Value::Array(items)) => items.iter().find(|item| **item != supported),
            Some(value) => Some(value),
        };
        match other {
            None => Ok(()),
            Some(other) => {
                Err(self.wrong_key(key, format!("has {}; only {} is supported", show(other), show(&supported))))
            }
        }
    }
}
