//! A model's `config.json`, or what another format says in its place.

use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    models::ConfigTable,
};

/// Where a pipeline file states configuration.
const TABLE: &str = "the model's `config` table";

/// Keys and values under the reference implementation's names.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, for messages.
    place: String,
    values: Map<String, Value>,
}

impl Config {
    pub fn new(place: impl Into<String>, values: Map<String, Value>) -> Self {
        Self { place: place.into(), values }
    }

    /// What a pipeline file states by itself.
    pub fn of_table(table: &ConfigTable) -> Self {
        Self::new(TABLE, table.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// With what a pipeline file states besides. Where both say something, they must say the same.
    pub fn with_table(mut self, table: &ConfigTable) -> Result<Self> {
        for (key, stated) in table {
            match self.values.get(key) {
                None => _ = self.values.insert(key.clone(), stated.clone()),
                Some(own) if same(own, stated) => (),
                Some(own) => {
                    let place = &self.place;
                    return Err(Error::input(format!("`{key}` is {own} in {place}, and {stated} in {TABLE}"))
                        .help("the files belong to another model, or the table is wrong"));
                }
            }
        }
        Ok(self)
    }

    /// The file that this was read from.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        default: Option<T>,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T> {
        match (self.values.get(key), default) {
            (None | Some(Value::Null), Some(default)) => Ok(default),
            (None | Some(Value::Null), None) => Err(Error::input(format!("`{key}` is missing"))),
            (Some(value), _) => read(value).ok_or_else(|| Error::input(format!("`{key}` is {value}, not {what}"))),
        }
    }

    pub fn text(&self, key: &str) -> Result<&str> {
        self.read(key, None, "a text", Value::as_str)
    }

    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        self.read(key, Some(default), "a text", Value::as_str)
    }

    /// A number above 0.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.read(key, None, "a whole number above 0", size)
    }

    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        self.read(key, Some(default), "a whole number above 0", size)
    }

    pub fn float(&self, key: &str) -> Result<f64> {
        self.read(key, None, "a number", Value::as_f64)
    }

    pub fn float_or(&self, key: &str, default: f64) -> Result<f64> {
        self.read(key, Some(default), "a number", Value::as_f64)
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        self.read(key, Some(default), "true or false", Value::as_bool)
    }

    pub fn table(&self, key: &str) -> Option<&Map<String, Value>> {
        self.values.get(key).and_then(Value::as_object)
    }
}

/// Numbers are compared by value: 1 is 1.0.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Far above any model's, and small enough that products of a few sizes can't overflow.
const LARGEST: u64 = 1 << 24;

fn size(value: &Value) -> Option<usize> {
    value.as_u64().filter(|n| (1..=LARGEST).contains(n)).map(|n| n as usize)
}
