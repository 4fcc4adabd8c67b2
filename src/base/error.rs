//! The one error type that crosses layer and process boundaries.
//!
//! A message says what went wrong and where; `help` says what to do about it. The category decides the exit code and
//! whether a retry can make sense. The type is serialisable because workers report their failure as one JSON line.

use std::{fmt::Display, path::Path};

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// The pipeline file, a dataset or a model file is not what it should be. Trying again can't help.
    Input,
    /// Network, disk, permissions, memory. Trying again may help.
    Environment,
    /// The device has no room for what the work needs. Trying again can't help, other settings can.
    Memory,
    /// The user asked to stop.
    Interrupted,
    /// A defect in emopipe itself.
    Internal,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Error {
    pub category: Category,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Error {
    fn new(category: Category, message: impl Display) -> Self {
        Self { category, message: message.to_string(), help: None }
    }

    pub fn input(message: impl Display) -> Self {
        Self::new(Category::Input, message)
    }

    pub fn environment(message: impl Display) -> Self {
        Self::new(Category::Environment, message)
    }

    pub fn memory(message: impl Display) -> Self {
        Self::new(Category::Memory, message)
    }

    pub fn interrupted(message: impl Display) -> Self {
        Self::new(Category::Interrupted, message)
    }

    pub fn internal(message: impl Display) -> Self {
        Self::new(Category::Internal, message)
    }

    /// An IO error on `path`, with the remedy for the usual causes.
    pub fn io(action: &str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let e = Self::environment(format!("can't {action} {}: {error}", path.display()));
        match error.kind() {
            K::StorageFull | K::QuotaExceeded => e.help(
                "free some space (`emopipe gc` removes what no pipeline needs) and run again; finished work is kept",
            ),
            K::ReadOnlyFilesystem | K::PermissionDenied => {
                e.help("make the folder writable, or name another store with `--store DIR` or EMOPIPE_STORE")
            }
            _ => e,
        }
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Puts the place in front of the message: `place: message`.
    pub fn at(mut self, place: impl Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// How the GPU's driver and libraries say that memory is short.
const NO_ROOM: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

impl From<candle_core::Error> for Error {
    fn from(e: candle_core::Error) -> Self {
        let text = e.to_string();
        if NO_ROOM.iter().any(|code| text.contains(code)) {
            return Self::memory("the GPU has no memory left")
                .help("see with `nvidia-smi` who else computes on it, or compute with smaller batches");
        }
        Self::internal(text)
    }
}

impl From<polars::error::PolarsError> for Error {
    fn from(e: polars::error::PolarsError) -> Self {
        Self::internal(e)
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Self::internal(e)
    }
}

/// Attaches the place to an error on its way up.
pub trait At<T> {
    /// # Errors
    /// That of the result, with `place` before what it says so far.
    fn at(self, place: impl Display) -> Result<T>;
}

impl<T, E: Into<Error>> At<T> for Result<T, E> {
    fn at(self, place: impl Display) -> Result<T> {
        self.map_err(|e| e.into().at(place))
    }
}

/// Names the file in an IO error.
pub trait IoAt<T> {
    /// `action` completes the sentence "can't ... FILE", for example `read` or `create`.
    ///
    /// # Errors
    /// That of the result, with what was tried and on which file.
    fn io_at(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> IoAt<T> for std::io::Result<T> {
    fn io_at(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::io(action, path, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gpu_is_told_from_a_defect() {
        let category = |text: &str| Error::from(candle_core::Error::Msg(text.to_owned())).category;
        assert_eq!(category("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"), Category::Memory);
        assert_eq!(category("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"), Category::Internal);
    }
}
