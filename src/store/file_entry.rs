//! One file of an artifact.

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}
