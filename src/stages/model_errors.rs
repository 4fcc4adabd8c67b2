//! Whom an error of what a model computes concerns.

use crate::base::error::{Category, Error};

/// An error of what a model computes, with the names of the model and its adapter. Others have nothing to do with them.
pub(super) fn about(e: Error, model: &str, adapter: Option<&str>) -> Error {
    match (e.category, adapter) {
        (Category::Input, Some(adapter)) => e.at(format!("the model `{model}` with the adapter `{adapter}`")),
        (Category::Input, None) => e.at(format!("the model `{model}`")),
        _ => e,
    }
}
