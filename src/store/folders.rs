//! Where things lie in a store, and who may read and write them.

use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{IoAt, Result},
};

pub(super) const INDEX: &str = "index.jsonl";
/// Holds a mark for each result that a remote store hasn't got yet.
pub(super) const PENDING_PUSH: &str = "unsent";
pub(super) const IN_USE: &str = "in-use.lock";
/// Folders that every store has.
pub(super) const FOLDERS: [&str; 7] = ["blobs", "actions", "locks", "work", "tmp", "runs", "memos"];
/// Hexadecimal digits of a digest that name a folder.
pub(super) const SHARD: usize = 2;

/// Permissions within a store: all of it is as open as its folder, whatever the `umask` of who writes, so that a store that
/// a group shares stays the group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    pub folder: u32,
    pub file: u32,
    /// Of files that nobody changes.
    pub sealed: u32,
}

impl Modes {
    pub fn of(root: &Path) -> Self {
        let folder = durable::mode(root).unwrap_or(0o755) | 0o700;
        Self { folder, file: folder & 0o666, sealed: folder & 0o444 }
    }

    /// Makes a folder of the store where there is none, and says whether it did. Its name isn't on disk yet.
    ///
    /// # Errors
    /// Where the folder can't be made, for example because a file has its name, or its permissions can't be set.
    pub fn create_folder(self, folder: &Path) -> Result<bool> {
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(false),
            made => made.io_at("create", folder)?,
        }
        if durable::mode(folder) != Some(self.folder) {
            durable::set_mode(folder, self.folder).io_at("create", folder)?;
        }
        Ok(true)
    }
}

/// Where the blob of this digest lies in a store.
pub(super) fn blob_in(root: &Path, digest: &Digest) -> PathBuf {
    sharded(&root.join("blobs"), digest)
}

/// Where the description of this key lies in a store.
pub(super) fn description_in(root: &Path, key: &Digest) -> PathBuf {
    sharded(&root.join("actions"), key).with_extension("json")
}

/// `base/ab/cdef...`: few enough entries a folder for every filesystem.
fn sharded(base: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    base.join(&hex[..SHARD]).join(&hex[SHARD..])
}

/// Creates the folder of a run.
///
/// # Errors
/// As [`Modes::create_folder`].
pub(super) fn run_folder(root: &Path, modes: Modes, run: &str) -> Result<PathBuf> {
    let dir = root.join("runs").join(run);
    modes.create_folder(&dir)?;
    Ok(dir)
}
