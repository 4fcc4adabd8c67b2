//! Files named by their content.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{Digest, FileEntry, Store, sharded};
use crate::{
    error::{Error, IoAt, Result},
    fault,
};

/// Where the blob of this digest lies in a store.
pub(super) fn blob_in(root: &Path, digest: &Digest) -> PathBuf {
    sharded(&root.join("blobs"), digest)
}

impl Store {
    /// Where the blob of this digest lies, if it is there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_in(&self.root, digest)
    }

    /// Moves a file of the store's filesystem into the store: synced first, then renamed, then visible. A blob that is
    /// there already is replaced: nobody can tell the two apart, except where the old one has rotted.
    pub(super) fn ingest(&self, file: &Path) -> Result<(Digest, u64)> {
        let digest = Digest::of_file(file)?;
        Ok((digest, self.place(file, &digest)?))
    }

    /// As `ingest`, for a file from elsewhere that should have this content. If it hasn't, it stays outside and the
    /// answer is `false`.
    pub fn adopt(&self, file: &Path, digest: &Digest) -> Result<bool> {
        let right = Digest::of_file(file)? == *digest;
        if right {
            self.place(file, digest)?;
        }
        Ok(right)
    }

    /// Moves a file of this content to where its blob belongs, and returns its bytes.
    fn place(&self, file: &Path, digest: &Digest) -> Result<u64> {
        let size = fs::metadata(file).io_at("read", file)?.len();
        let target = self.blob(digest);
        File::open(file).and_then(|f| f.sync_all()).io_at("sync", file)?;
        let mut permissions = fs::metadata(file).io_at("read", file)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(file, permissions).io_at("make read-only", file)?;
        let folder = target.parent().ok_or_else(|| Error::internal("a blob without a folder"))?;
        fs::create_dir_all(folder).io_at("create", folder)?;
        fault::at("blob");
        fs::rename(file, &target).io_at("move a result to", &target)?;
        fault::at("blob-renamed");
        // The folder isn't synced: if the power fails before the name is on disk, the result is a miss.
        Ok(size)
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
            Ok(m) if m.len() != size => return Some(format!("{} bytes instead of {size}", m.len())),
            Ok(_) => {}
        }
        match Digest::of_file(&path) {
            Ok(found) if found == *digest => None,
            Ok(_) => Some("other bytes than its name says".to_owned()),
            Err(e) => Some(format!("unreadable: {e}")),
        }
    }

    /// Removes a blob, so that every result that has it becomes a miss.
    pub fn drop_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, &e)),
            _ => Ok(()),
        }
    }
}
