//! Where a remote store is and how it is used, with every default filled in.

use std::time::Duration;

use crate::config::{RemoteConfig, RemotePlace};

const CONCURRENCY: u32 = 8;
const TIMEOUT: u32 = 60;

/// A remote store, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub place: RemotePlace,
    /// Whether a run takes results from it.
    pub pull: bool,
    /// Whether a run sends what it computes to it.
    pub push: bool,
    /// Most requests at once.
    pub concurrency: usize,
    /// Silence after which a request has failed.
    pub timeout: Duration,
}

impl Settings {
    /// `None` where no place is named.
    pub fn new(config: RemoteConfig) -> Option<Self> {
        Some(Self {
            place: config.place?,
            pull: config.pull.unwrap_or(true),
            push: config.push.unwrap_or(true),
            concurrency: config.concurrency.unwrap_or(CONCURRENCY) as usize,
            timeout: Duration::from_secs(config.timeout.unwrap_or(TIMEOUT).into()),
        })
    }

    #[cfg(test)]
    pub fn for_folder(folder: &std::path::Path) -> Self {
        let place = Some(RemotePlace::Folder(folder.to_owned()));
        Self::new(RemoteConfig { place, ..RemoteConfig::default() }).unwrap()
    }
}
