//! An open weight file, and what is said of a damaged one.
//!
//! Files are read rather than mapped: pages of a map count as memory of the process, and a file that shrinks would kill it.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use crate::base::error::{At, Error, IoAt, Result};

/// An open weight file.
#[derive(Debug)]
pub struct WeightFile {
    /// Inside the artifact, for messages.
    pub name: String,
    /// In bytes.
    pub len: u64,
    file: File,
}

impl WeightFile {
    /// # Errors
    /// If it can't be opened.
    pub fn open(name: &str, path: &Path) -> Result<Arc<Self>> {
        let file = File::open(path).io_at("open", path)?;
        let len = file.metadata().io_at("read", path)?.len();
        Ok(Arc::new(Self { name: name.to_owned(), len, file }))
    }

    /// `len` bytes from the byte `at` on.
    ///
    /// # Errors
    /// If they can't be read, the file being shorter included.
    pub fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// To read from one place after the other.
    pub fn reader(&self) -> &File {
        &self.file
    }
}

/// Bytes that must be there, or the file is cut short.
///
/// # Errors
/// If they can't be read, naming the file.
pub fn read_or_damaged(file: &WeightFile, at: u64, len: usize, what: &str) -> Result<Vec<u8>> {
    file.read(at, len).map_err(|e| damaged(what, e)).at(&file.name)
}

/// `what` names the format: `a whole safetensors file`.
pub fn damaged(what: &str, e: impl std::fmt::Display) -> Error {
    Error::input(format!("not {what} ({e})")).help("the file is cut short or damaged: fetch it again")
}
