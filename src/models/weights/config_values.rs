//! Typed values of a configuration.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::model_config::Config;
use crate::base::error::Result;

/// Every function refuses a value of another type or outside its range, by the key's name; one without `optional` or a
/// default, a
/// missing one too.
impl Config {
    /// A text.
    ///
    /// # Errors
    /// If it is missing, or isn't that.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.required(key, self.optional_text(key)?)
    }

    /// A text, if there is one.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn optional_text(&self, key: &str) -> Result<Option<&str>> {
        self.read(key, "a text", Value::as_str)
    }

    /// A number from 1 to `most`.
    ///
    /// # Errors
    /// If it is missing, or isn't that.
    pub fn size(&self, key: &str, most: usize) -> Result<usize> {
        self.required(key, self.optional_size(key, most)?)
    }

    /// As [`Config::size`], with a default where it is missing.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn size_or(&self, key: &str, most: usize, default: usize) -> Result<usize> {
        Ok(self.optional_size(key, most)?.unwrap_or(default))
    }

    /// As [`Config::size`], if there is one.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn optional_size(&self, key: &str, most: usize) -> Result<Option<usize>> {
        self.read(key, &format!("a whole number above 0 and up to {most}"), |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n))
        })
    }

    /// A number in `range`.
    ///
    /// # Errors
    /// If it is missing, or isn't that.
    pub fn number(&self, key: &str, range: &RangeInclusive<f64>) -> Result<f64> {
        self.required(key, self.optional_number(key, range)?)
    }

    /// As [`Config::number`], with a default where it is missing.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn number_or(&self, key: &str, range: &RangeInclusive<f64>, default: f64) -> Result<f64> {
        Ok(self.optional_number(key, range)?.unwrap_or(default))
    }

    /// As [`Config::number`], if there is one.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn optional_number(&self, key: &str, range: &RangeInclusive<f64>) -> Result<Option<f64>> {
        let (least, most) = (range.start(), range.end());
        self.read(key, &format!("a number from {least:e} to {most:e}"), |value| {
            value.as_f64().filter(|x| range.contains(x))
        })
    }

    /// True or false, with a default where it is missing.
    ///
    /// # Errors
    /// If it is there and isn't that.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A table inside, which has to be asked for what it says as this one.
    ///
    /// # Errors
    /// If it is there and isn't a table.
    pub fn table(&self, key: &str) -> Result<Option<Self>> {
        let found = self.read(key, "a table", Value::as_object)?;
        Ok(found.map(|values| Self::new(format!("{}: `{key}`", self.place_of(key)), values.clone())))
    }

    /// Counts a key as read, whatever its value.
    pub fn ignore(&self, key: &str) {
        self.get(key);
    }
}
