//! A name in the pipeline file, and what people read in its place.

use serde::{Deserialize, Serialize};

/// A definition's name in the pipeline file, and how tables call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
    pub title: String,
}
