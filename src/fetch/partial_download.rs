//! A download that isn't complete yet, and what is needed to go on with it.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::base::{
    digest::Digest,
    error::{IoAt, Result},
    failpoint,
};

/// `HASH.part` in the work folder, named after the URL so that places never mix, with `HASH.part.json` beside it.
pub(super) struct Part {
    path: PathBuf,
    about: PathBuf,
}

/// What the server said about the file when the download began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// Strong ETag, or modification time: goes back as `If-Range`.
    pub validator: Option<String>,
    /// Bytes.
    pub total: Option<u64>,
}

impl Part {
    pub fn of(url: &str, work: &Path) -> Self {
        let stem = Digest::of(url.as_bytes()).short();
        Self { path: work.join(format!("{stem}.part")), about: work.join(format!("{stem}.part.json")) }
    }

    /// Bytes that are here and what they belong to; `None` where there is nothing to go on with.
    pub fn state(&self) -> Option<(u64, About)> {
        let have = fs::metadata(&self.path).ok()?.len();
        let about: About = serde_json::from_slice(&fs::read(&self.about).ok()?).ok()?;
        let known = about.validator.is_some() || about.total.is_some();
        let sane = about.total.is_none_or(|total| have <= total);
        (have > 0 && known && sane).then_some((have, about))
    }

    /// Starts from nothing.
    ///
    /// # Errors
    /// Where the file or the note beside it can't be written.
    pub fn begin(&self, about: &About) -> Result<Writer<'_>> {
        self.discard();
        let file = File::create(&self.path).io_at("create", &self.path)?;
        fs::write(&self.about, serde_json::to_vec(about)?).io_at("write", &self.about)?;
        Ok(Writer { file, path: &self.path, have: 0 })
    }

    /// Goes on after the `have` bytes that are here.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn go_on(&self, have: u64) -> Result<Writer<'_>> {
        let file = OpenOptions::new().append(true).open(&self.path).io_at("open", &self.path)?;
        Ok(Writer { file, path: &self.path, have })
    }

    /// Takes the complete file out, under the name `to`.
    ///
    /// # Errors
    /// Where the file can't be renamed.
    pub fn finish(self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).io_at("rename", &self.path)?;
        // Without its bytes the note is never read.
        let _ = fs::remove_file(&self.about);
        Ok(())
    }

    pub fn discard(&self) {
        // The note goes first: bytes without a note are never continued.
        let _ = fs::remove_file(&self.about);
        let _ = fs::remove_file(&self.path);
    }
}

/// Bytes for which the filesystem of `folder` has room.
///
/// # Errors
/// Where the filesystem doesn't say.
pub(super) fn room(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder).map_err(std::io::Error::from).io_at("measure the free space of", folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

pub(super) struct Writer<'a> {
    file: File,
    path: &'a Path,
    /// Bytes that the file has.
    pub have: u64,
}

impl Writer<'_> {
    /// Adds bytes to the end.
    ///
    /// # Errors
    /// Where the file can't be written, for example because the disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).io_at("write", self.path)?;
        self.have += bytes.len() as u64;
        failpoint::at("download");
        Ok(())
    }
}
