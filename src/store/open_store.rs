//! An open store: what is known under a key.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    action_result::{Acceptance, ActionResult, Known},
    file_entry::FileEntry,
    folders::{INDEX, Modes, description_in},
    lease::Lease,
    marker,
    result_index::Index,
    stored_files::size_below,
};
use crate::base::digest::Digest;
use crate::base::{error::Result, locks::Locks};

/// A store, opened for reading and writing.
#[derive(Debug)]
pub struct Store {
    pub(super) root: PathBuf,
    index: Mutex<Index>,
    pub(super) locks: Locks,
    pub(super) modes: Modes,
    /// For as long as this store is open: shared, or exclusive for garbage collection and repair.
    _in_use: Option<File>,
}

impl Store {
    /// Opens the store in `root`, creating it where needed.
    ///
    /// # Errors
    /// Where the folder can't be written, holds other things under a store's names, or a garbage collection is under way.
    pub fn open(root: &Path) -> Result<Self> {
        Self::of(Lease::new(root)?)
    }

    /// Whether `root` is a store.
    pub fn exists(root: &Path) -> bool {
        marker::require(root).is_ok()
    }

    /// Opens a store that has to be there.
    ///
    /// # Errors
    /// As [`Store::open`], and where `root` isn't a store.
    pub fn open_existing(root: &Path) -> Result<Self> {
        marker::require(root)?;
        Self::open(root)
    }

    /// Opens the store for this process alone, to remove things.
    ///
    /// # Errors
    /// Where there is no store, another process has it open, or nobody could tell.
    pub fn open_alone(root: &Path) -> Result<Self> {
        Self::of(Lease::exclusive(root)?)
    }

    /// Opens a store for questions: nothing is written, so that it may be one that this user can't write to. Where there is
    /// none, nothing is known.
    ///
    /// # Errors
    /// Where the index can't be read, or a garbage collection is under way.
    pub fn open_to_read(root: &Path) -> Result<Self> {
        Self::of(Lease::to_read(root)?)
    }

    /// As [`Store::open_to_read`], for a store that has to be there.
    ///
    /// # Errors
    /// Also where `root` isn't a store.
    pub fn open_existing_to_read(root: &Path) -> Result<Self> {
        marker::require(root)?;
        Self::open_to_read(root)
    }

    fn of(lease: Lease) -> Result<Self> {
        let Lease { root, locks, modes, in_use } = lease;
        let index = Index::open(&root.join(INDEX), locks, modes)?;
        Ok(Self { root, index: Mutex::new(index), locks, modes, _in_use: in_use })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The result of an action, if it is there with all of its bytes: of several, the one that was published first.
    pub fn lookup(&self, key: &Digest) -> Option<ActionResult> {
        let results = self.index().get(key)?.results.clone();
        results.into_iter().find(|o| self.is_complete(o))
    }

    /// Everything that is known under a key, whether its bytes are there or not.
    pub fn known(&self, key: &Digest) -> Option<Known> {
        self.index().get(key).cloned()
    }

    /// All keys and what is known of them, in the order in which they became known.
    pub fn results(&self) -> Vec<(Digest, Known)> {
        let mut all: Vec<_> = self.index().iter().map(|(key, known)| (*key, known.clone())).collect();
        all.sort_by_key(|(_, known)| known.order);
        all
    }

    /// Why another key's result stands for this one, if it does.
    pub fn acceptance(&self, key: &Digest) -> Option<Acceptance> {
        self.index().get(key)?.accepted.clone()
    }

    /// Whether one description has given different bytes.
    pub fn is_ambiguous(&self, key: &Digest) -> bool {
        self.index().get(key).is_some_and(|known| known.results.len() > 1)
    }

    /// Bytes below one of the store's folders, such as `blobs`.
    pub fn size_of(&self, folder: &str) -> u64 {
        size_below(&self.root.join(folder))
    }

    /// The key under which the action of this name was last published or found, whatever its parameters were.
    pub fn latest_key(&self, action: &str) -> Option<Digest> {
        self.index().latest(action)
    }

    /// Number of results in the index.
    pub fn len(&self) -> usize {
        self.index().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads what other processes have published since.
    ///
    /// # Errors
    /// Where the index can't be read.
    pub fn refresh(&self) -> Result<()> {
        self.index().refresh()
    }

    /// Whether every blob of the result is there with its size.
    fn is_complete(&self, result: &ActionResult) -> bool {
        result.files.iter().all(|f| self.holds(f))
    }

    /// Where each file of a result lies.
    pub fn paths(&self, result: &ActionResult) -> BTreeMap<String, PathBuf> {
        result.files.iter().map(|f| (f.name.clone(), self.blob(&f.digest))).collect()
    }

    /// Whether the blob of this file is there with its size.
    pub fn holds(&self, file: &FileEntry) -> bool {
        fs::metadata(self.blob(&file.digest)).is_ok_and(|m| m.is_file() && m.len() == file.size)
    }

    /// Notes that `action` now stands for `key`, so that the next change is explained against it.
    ///
    /// # Errors
    /// Where the index can't be written.
    pub fn note_use(&self, key: Digest, action: &str) -> Result<()> {
        if self.latest_key(action) == Some(key) {
            return Ok(());
        }
        self.index().append_use(key, action)
    }

    /// Takes a result back: the next run computes it again.
    ///
    /// # Errors
    /// Where the index can't be written.
    pub fn forget(&self, key: &Digest) -> Result<()> {
        self.index().forget(*key)
    }

    /// The description whose hash `key` is.
    pub fn preimage(&self, key: &Digest) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.preimage_path(key)).ok()?).ok()
    }

    /// Whether the description of a key is there.
    pub fn is_described(&self, key: &Digest) -> bool {
        self.preimage_path(key).is_file()
    }

    /// Where the description of a key lies, if it is there.
    pub(super) fn preimage_path(&self, key: &Digest) -> PathBuf {
        description_in(&self.root, key)
    }

    /// The digest of the index, if nobody has added to it since this store was opened.
    ///
    /// # Errors
    /// Where the index can't be read.
    pub fn index_as_opened(&self) -> Result<Option<Digest>> {
        self.index().as_opened()
    }

    pub(super) fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
