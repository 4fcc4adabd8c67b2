//! What keeps a file in the project from being replaced.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::base::error::Error;
use crate::{
    base::digest::Digest,
    store::{file_entry::FileEntry, manifest::Manifest, open_store::Store},
};

/// Why a file can't be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    Edited,
    NotOurs,
    Link,
    Folder,
}

impl Conflict {
    /// What keeps the file of this name at `place` from being replaced by one that the action `by` made.
    pub fn find(store: &Store, by: &str, manifest: &Manifest, place: &Path, name: &str) -> Option<Self> {
        let found = fs::symlink_metadata(place).ok()?;
        if found.is_symlink() {
            return Some(Self::Link);
        }
        if found.is_dir() {
            return Some(Self::Folder);
        }
        let made = manifest.files.get(name);
        let digest = if found.is_file() { Digest::of_file(place).ok() } else { None };
        let ours = |digest: Digest| made.is_some_and(|made| made.blake3 == digest) || store.has_made(by, name, &digest);
        match digest {
            Some(digest) if ours(digest) => None,
            _ if made.is_some() => Some(Self::Edited),
            _ => Some(Self::NotOurs),
        }
    }

    /// Whether it gives way where the user says so.
    pub fn yields(self) -> bool {
        self != Self::Folder
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Edited => "was changed since emopipe wrote it",
            Self::NotOurs => "wasn't written by emopipe",
            Self::Link => "is a link",
            Self::Folder => "is a folder",
        }
    }
}

/// Says what lies in the way, and what to do.
pub(super) fn in_the_way(conflicts: &[(PathBuf, Conflict)]) -> Error {
    const SHOWN: usize = 5;
    let mut all: Vec<String> =
        conflicts.iter().take(SHOWN).map(|(to, why)| format!("{} {}", to.display(), why.describe())).collect();
    if conflicts.len() > SHOWN {
        all.push(format!("and {} more", conflicts.len() - SHOWN));
    }
    let error = Error::input(format!("nothing is exported over what isn't emopipe's: {}", all.join("; ")));
    if conflicts.iter().all(|(_, why)| why.yields()) {
        error.help("the result is in the store; move away what lies there, choose another `export`, or have it replaced with `run --overwrite`")
    } else {
        error.help("the result is in the store; move away what lies there, or choose another `export`")
    }
}

impl Store {
    /// Whether an action of this name has ever given a file of this name and content.
    fn has_made(&self, by: &str, file: &str, digest: &Digest) -> bool {
        // Another run may have made it a moment ago; if that can't be read, it didn't.
        let _ = self.refresh();
        let index = self.index();
        let results = index.iter().filter(|(_, known)| known.action == by).flat_map(|(_, known)| &known.results);
        results.flat_map(|result| &result.files).any(|f: &FileEntry| f.name == file && f.digest == *digest)
    }
}
