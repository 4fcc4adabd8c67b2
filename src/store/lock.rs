//! Advisory locks, which the kernel releases when their holder dies, and what to do where there are none.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::error::{IoAt, Result};

/// Linux: no locks available (network filesystems without a lock service).
const ENOLCK: i32 = 37;

/// What came of asking for a lock.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Held until the file is dropped.
    Held(File),
    Busy(File),
    /// This filesystem has no locks, or the user switched them off.
    Unavailable,
}

/// How to lock. `EMOPIPE_LOCKS=off` is for network filesystems on which asking for a lock fails or hangs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locks {
    enabled: bool,
}

impl Locks {
    pub fn from_env() -> Self {
        Self { enabled: std::env::var_os("EMOPIPE_LOCKS").is_none_or(|v| v != "off") }
    }

    pub fn try_shared(self, path: &Path) -> Result<Attempt> {
        self.attempt(path, File::try_lock_shared)
    }

    pub fn try_exclusive(self, path: &Path) -> Result<Attempt> {
        self.attempt(path, File::try_lock)
    }

    /// Locks an open file, waiting for it. Says whether there is a lock now.
    pub fn wait(self, file: &File, path: &Path) -> Result<bool> {
        if !self.enabled {
            return Ok(false);
        }
        match file.lock() {
            Ok(()) => Ok(true),
            Err(e) if unavailable(&e) => Ok(false),
            Err(e) => Err(e).io_at("lock", path),
        }
    }

    fn attempt(self, path: &Path, lock: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<Attempt> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .io_at("open the lock", path)?;
        if !self.enabled {
            return Ok(Attempt::Unavailable);
        }
        match lock(&file) {
            Ok(()) => Ok(Attempt::Held(file)),
            Err(TryLockError::WouldBlock) => Ok(Attempt::Busy(file)),
            Err(TryLockError::Error(e)) if unavailable(&e) => Ok(Attempt::Unavailable),
            Err(TryLockError::Error(e)) => Err(e).io_at("lock", path),
        }
    }
}

fn unavailable(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::Unsupported || e.raw_os_error() == Some(ENOLCK)
}
