//! What a memo is looked up by: the command line.

use std::path::PathBuf;

use serde::Serialize;

use crate::base::digest::Digest;

/// The parts of a command line on which it depends what a run finds.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// The working directory: all other paths may be relative to it.
    pub folder: PathBuf,
    pub pipeline: PathBuf,
    pub profile: Option<String>,
    pub set: Vec<(String, String)>,
    pub store: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub mirror: Option<PathBuf>,
    /// Where the user's settings would be.
    pub settings: Option<PathBuf>,
    pub only: Vec<String>,
    pub until: Vec<String>,
    pub offline: bool,
    pub locked: bool,
}

impl Question {
    pub(super) fn id(&self) -> Option<Digest> {
        // A path that isn't UTF-8 has no memo.
        Some(Digest::of(&serde_json::to_vec(self).ok()?))
    }

    /// The folders in which the store may be: which one it is, the pipeline's files say, and they aren't read yet.
    pub(super) fn stores(&self) -> Vec<PathBuf> {
        match &self.store {
            Some(store) => vec![self.folder.join(store)],
            None => self.folder.join(&self.pipeline).ancestors().skip(1).map(|folder| folder.join("cache")).collect(),
        }
    }
}
