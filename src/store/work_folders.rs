//! What runs keep in a store besides results: locks on keys, folders to work in, journals, memos.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
};

use super::{folders::run_folder, lease::Lease, open_store::Store};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{Error, IoAt, Result},
    locks::Attempt,
};

impl Store {
    /// Waits until no other process computes `key`, then holds that right until the file is dropped.
    /// `waiting` is called once if it has to wait. Without locks two processes may compute the same: see the module.
    ///
    /// # Errors
    /// Where the lock's file can't be made, or locking fails for another reason than that there are no locks.
    pub fn lock(&self, key: &Digest, waiting: impl FnOnce()) -> Result<Option<File>> {
        let path = self.root.join("locks").join(key.to_string());
        match self.locks.try_exclusive(&path, self.modes.file)? {
            Attempt::Held(file) => Ok(Some(file)),
            Attempt::Busy(file) => {
                waiting();
                Ok(self.locks.wait(&file, &path)?.then_some(file))
            }
            Attempt::Unavailable => Ok(None),
        }
    }

    /// The folder that `key`'s action keeps between attempts; it needn't exist. Without a lock on the key it can't be shared, so a process
    /// that has none gets a folder of its own.
    pub fn work(&self, key: &Digest, locked: bool) -> PathBuf {
        let name = if locked { key.to_string() } else { format!("{key}.{}", unique_process()) };
        self.root.join("work").join(name)
    }

    /// A new empty folder on the store's filesystem, removed when dropped.
    ///
    /// # Errors
    /// Where it can't be made, or its permissions can't be set.
    pub fn staging(&self) -> Result<tempfile::TempDir> {
        let tmp = self.root.join("tmp");
        let folder = tempfile::tempdir_in(&tmp).io_at("create a folder in", &tmp)?;
        // So that everybody who shares the store may remove what a dead process left.
        durable::set_mode(folder.path(), self.modes.folder).io_at("create a folder in", &tmp)?;
        Ok(folder)
    }

    /// Creates the folder of a run.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn run_folder(&self, run: &str) -> Result<PathBuf> {
        run_folder(&self.root, self.modes, run)
    }

    /// Keeps a memo for [`Lease::memo_in`]. It has to carry a checksum of its own.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_memo(&self, id: &Digest, memo: &[u8]) -> Result<()> {
        durable::replace(&Lease::memo_in(&self.root, id), self.modes.file, |file| file.write_all(memo))
    }

    /// Names of all runs, oldest first.
    ///
    /// # Errors
    /// Where there is a folder of runs that can't be listed.
    pub fn runs(&self) -> Result<Vec<String>> {
        let dir = self.root.join("runs");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", &dir, &e)),
        };
        let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }
}

/// Names this process among all that may share the store, also from other machines.
fn unique_process() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", Digest::of(host.trim().as_bytes()).short(), std::process::id())
}
