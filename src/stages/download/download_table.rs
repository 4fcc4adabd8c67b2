//! The keys of a `download` stage, and what becomes of them in the key.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What pipeline files call the kind.
pub const NAME: &str = "download";

/// Brings the files of a `source` table into the store, and proves them by their pins.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct DownloadTable {
    /// `KIND.NAME` of a definition that has a `source` table, for example `dataset.movies`.
    pub from: String,

    /// Only these files of the `source` table; all of them if left out.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// What can change the artifact: names and contents. Where the bytes come from can't.
#[derive(Debug, Serialize, Deserialize)]
pub struct DownloadParams {
    /// Pins as [`crate::fetch::Pin`] writes them, by file name.
    pub files: IndexMap<String, String>,
}
