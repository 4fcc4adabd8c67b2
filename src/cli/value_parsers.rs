//! Values of the command line.

use std::path::PathBuf;

use crate::{base::machine::Device, config::parse_size, models::Dtype};

/// `f32`, `bf16` or `f16`.
///
/// # Errors
/// What was expected.
pub fn dtype(text: &str) -> Result<Dtype, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected f32, bf16 or f16".to_owned())
}

/// `cpu` or `cuda`.
///
/// # Errors
/// What was expected.
pub fn device(text: &str) -> Result<Device, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected cpu or cuda".to_owned())
}

/// A number above 0.
///
/// # Errors
/// What was expected.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number above 0".to_owned())
}

/// `NAME=PATH`.
///
/// # Errors
/// What was expected.
pub fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

/// `KEY=VALUE`.
///
/// # Errors
/// What was expected.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Bytes, from a size such as `8 GiB`.
///
/// # Errors
/// What was expected.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as `8 GiB`".to_owned())
}
