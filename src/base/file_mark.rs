//! Large files, known again by what the file system says of them, and the hashes that they had.
//!
//! The time of the last change of a file's inode, which nobody can set, is part of it.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Bytes from which on a file's hash is remembered.
pub(super) const LARGE: u64 = 8 << 20;

/// A file that changed later than this before it was hashed might change again without any of its times showing it.
const SETTLES: Duration = Duration::from_secs(2);

/// What the hashes of large files were.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Where this is kept.
    pub file: Option<PathBuf>,
    pub hashes: BTreeMap<String, Hashed>,
    pub changed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Hashed {
    pub mark: Mark,
    pub hash: String,
}

/// What the file system says of a file. Any change of its content changes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// # Errors
    /// Where the file isn't there, or nothing can be learnt of it.
    pub fn of(path: &Path) -> io::Result<Self> {
        let m = fs::metadata(path)?;
        Ok(Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }

    /// Whether the last change is long enough ago for the next one to show.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or_default();
        now > Duration::from_secs(last + 1) + SETTLES
    }
}
