//! Files named by their content.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{file_entry::FileEntry, folders::blob_in, open_store::Store};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{IoAt, Result},
    failpoint,
};

impl Store {
    /// Where the blob of this digest lies, if it is there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_in(&self.root, digest)
    }

    /// Moves a file from elsewhere on the store's filesystem into the store if it has this content. If it hasn't, it stays
    /// outside and the answer is `false`.
    ///
    /// # Errors
    /// Where the file can't be read, sealed or moved.
    pub fn adopt(&self, file: &Path, digest: &Digest) -> Result<bool> {
        if Digest::of_file(file)? != *digest {
            return Ok(false);
        }
        self.seal(file)?;
        let mut changed = BTreeSet::new();
        self.move_in(file, digest, &mut changed)?;
        durable::sync_folders(&changed)?;
        Ok(true)
    }

    /// Puts a file on disk that nobody changes any more, and returns its bytes.
    ///
    /// # Errors
    /// Where the permissions can't be set, or the file can't be put on disk.
    pub(super) fn seal(&self, file: &Path) -> Result<u64> {
        durable::set_mode(file, self.modes.sealed).io_at("make read-only", file)?;
        durable::sync_file(file)?;
        Ok(fs::metadata(file).io_at("read", file)?.len())
    }

    /// Moves a sealed file of this content to where its blob belongs. A blob that is there already is replaced: nobody can
    /// tell the two apart, except where the old one has rotted. `changed` gets the folders that are to be synced.
    ///
    /// # Errors
    /// Where the blob's folder can't be made, or the file can't be moved, for example from another filesystem.
    pub(super) fn move_in(&self, file: &Path, digest: &Digest, changed: &mut BTreeSet<PathBuf>) -> Result<()> {
        let target = self.blob(digest);
        self.make_room(&target, changed)?;
        failpoint::at("blob");
        fs::rename(file, &target).io_at("move a result to", &target)?;
        failpoint::at("blob-renamed");
        Ok(())
    }

    /// The files whose blobs are missing or aren't what their names say; reads all of their bytes.
    pub fn damaged<'a>(&self, files: impl IntoIterator<Item = &'a FileEntry>) -> Vec<Digest> {
        let mut found: Vec<Digest> =
            files.into_iter().filter(|f| self.blob_problem(&f.digest, f.size).is_some()).map(|f| f.digest).collect();
        found.sort();
        found.dedup();
        found
    }

    /// What is wrong with a blob, in a few words.
    pub(super) fn blob_problem(&self, digest: &Digest, size: u64) -> Option<String> {
        let path = self.blob(digest);
        match fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Some("missing".to_owned()),
            Err(e) => return Some(format!("unreadable: {e}")),
            Ok(m) if !m.is_file() => return Some("no file".to_owned()),
            Ok(m) if m.len() != size => return Some(format!("{} bytes instead of {size}", m.len())),
            Ok(_) => {}
        }
        match Digest::of_file(&path) {
            Ok(found) if found == *digest => None,
            Ok(_) => Some("other bytes than its name says".to_owned()),
            Err(e) => Some(format!("unreadable: {e}")),
        }
    }

    /// Removes a blob, or whatever lies in its place, so that every result that has it becomes a miss.
    ///
    /// # Errors
    /// Where something is there and can't be removed.
    pub fn drop_blob(&self, digest: &Digest) -> Result<()> {
        durable::remove(&self.blob(digest))
    }
}
