//! Which ways to a file are open, and where the mirror and the services lie.

use std::{env, path::PathBuf, time::Duration};

/// What decides which ways are taken. The defaults are those of a machine with nothing configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder with copies of published files, tried first: `HOST/PATH`, `pypi/NAME/VERSION/ARCHIVE`,
    /// `huggingface.co/ORG/REPO/resolve/REVISION/FILE`.
    pub mirror: Option<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
    /// The Python package index; `None`: the one that pip is configured for.
    pub index: Option<String>,
    /// The hub's address; `None`: the one that the hub's client is configured for.
    pub hub: Option<String>,
    /// Pause before the second try; doubles with every further one.
    pub backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mirror: None, offline: false, index: None, hub: None, backoff: Duration::from_millis(500) }
    }
}

impl Settings {
    /// Reads `EMOPIPE_MIRROR` and `EMOPIPE_OFFLINE`.
    pub fn from_env() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            mirror: set("EMOPIPE_MIRROR").map(PathBuf::from),
            offline: set("EMOPIPE_OFFLINE").is_some_and(|value| value != "0"),
            ..Self::default()
        }
    }
}
