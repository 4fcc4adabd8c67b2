//! Advisory locks, which the kernel releases when their holder dies, and what to do where there are none.

use std::{
    fs::{File, Permissions, TryLockError},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::error::{IoAt, Result};

/// Linux: no locks available (network filesystems without a lock service).
const ENOLCK: i32 = 37;

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Attempt {
    /// Held until the file is dropped.
    Held(File),
    Busy(File),
    /// This filesystem has no locks, or the user switched them off.
    Unavailable,
}

/// How to lock. `EMOPIPE_LOCKS=off` is for network filesystems on which asking for a lock fails or hangs.
#[derive(Debug, Clone, Copy)]
pub struct Locks {
    enabled: bool,
}

impl Locks {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self { enabled: std::env::var_os("EMOPIPE_LOCKS").is_none_or(|v| v != "off") }
    }

    /// Shares the lock in `path`, a file that is made where there is none, as readable and writable as `mode` says.
    ///
    /// # Errors
    /// Where the file can't be opened or made, or the lock can't be asked for.
    pub fn try_shared(self, path: &Path, mode: u32) -> Result<Attempt> {
        self.attempt(open(path, mode)?, path, File::try_lock_shared)
    }

    /// As `try_shared`, where nothing may be written; unavailable where there is no such file.
    ///
    /// # Errors
    /// Where the lock of a file that is there can't be asked for.
    pub fn try_shared_reading(self, path: &Path) -> Result<Attempt> {
        match File::open(path) {
            Ok(file) => self.attempt(file, path, File::try_lock_shared),
            Err(_) => Ok(Attempt::Unavailable),
        }
    }

    /// Takes the lock for this process alone.
    ///
    /// # Errors
    /// As [`Locks::try_shared`].
    pub fn try_exclusive(self, path: &Path, mode: u32) -> Result<Attempt> {
        self.attempt(open(path, mode)?, path, File::try_lock)
    }

    /// Whether nobody holds the lock of an open file, as far as can be told. It is held from then on.
    pub fn is_free(self, file: &File) -> bool {
        self.enabled && file.try_lock().is_ok()
    }

    /// Locks an open file, waiting for it. Says whether there is a lock now.
    ///
    /// # Errors
    /// Where locking fails for another reason than that this filesystem has no locks.
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

    fn attempt(self, file: File, path: &Path, lock: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<Attempt> {
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

fn open(path: &Path, mode: u32) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    let opened = match options.open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => match options.create_new(true).open(path) {
            Ok(file) => file.set_permissions(Permissions::from_mode(mode)).map(|()| file),
            // Somebody was faster.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => options.create_new(false).open(path),
            Err(e) => Err(e),
        },
        opened => opened,
    };
    opened.io_at("open the lock", path)
}

fn unavailable(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::Unsupported || e.raw_os_error() == Some(ENOLCK)
}
