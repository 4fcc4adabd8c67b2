//! Which program left a memo.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Which program it is: another one may describe actions otherwise. Its own file can't be rewritten while it runs, so that
/// times will do here.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Bytes.
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Program {
    /// The one that runs now; none where the system doesn't tell.
    pub fn this() -> Option<Self> {
        let path = std::env::current_exe().ok()?;
        let m = fs::metadata(&path).ok()?;
        Some(Self {
            path,
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }
}
