//! The files of a model, by the names they were published under.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use crate::base::{
    error::{At, IoAt, Result},
    strict_json,
};

/// Files of a model by the names they were published under.
pub type Files = BTreeMap<String, PathBuf>;

/// The configuration of a model's backbone.
pub const MODEL_CONFIG: &str = "config.json";

/// A file as JSON; null where the model has no such file.
///
/// # Errors
/// If it can't be read, isn't a JSON object or has a key twice.
pub fn read_json(files: &Files, name: &str) -> Result<Value> {
    let Some(path) = files.get(name) else { return Ok(Value::Null) };
    let bytes = std::fs::read(path).io_at("read", path)?;
    strict_json::parse(&bytes).map(Value::Object).at(name)
}
