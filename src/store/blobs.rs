//! Files named by their content.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{Digest, Store, sharded};
use crate::error::{Error, IoAt, Result};

impl Store {
    /// Where the blob of this digest lies, if it is there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        sharded(&self.root.join("blobs"), digest)
    }

    /// Moves a file of the store's filesystem into the store: synced first, then renamed, then visible.
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
        if fs::metadata(&target).is_ok_and(|m| m.len() == size) {
            return Ok(size);
        }
        File::open(file).and_then(|f| f.sync_all()).io_at("sync", file)?;
        let mut permissions = fs::metadata(file).io_at("read", file)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(file, permissions).io_at("make read-only", file)?;
        let folder = target.parent().ok_or_else(|| Error::internal("a blob without a folder"))?;
        fs::create_dir_all(folder).io_at("create", folder)?;
        fs::rename(file, &target).io_at("move a result to", &target)?;
        File::open(folder).and_then(|f| f.sync_all()).io_at("sync", folder)?;
        Ok(size)
    }
}
