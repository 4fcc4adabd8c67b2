//! What a running action works on: its parameters and its inputs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::base::{
    digest::Digest,
    error::{Error, Result},
};

/// Everything a running action needs; one line of JSON on the worker's standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub kind: String,
    /// `train[task=sst5,method=lora,seed=0]`
    pub action: String,
    pub params: serde_json::Value,
    pub unkeyed: serde_json::Value,
    /// Like `unkeyed`, and never written down.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub private: serde_json::Value,
    /// By role; several artifacts where a stage gathers.
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    /// Threads that the action may use.
    pub threads: usize,
    /// Bytes that are set aside for the action.
    #[serde(default)]
    pub memory: u64,
    /// What was vouched for and not computed among everything that led to the inputs, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An immutable folder of files, named by its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    pub digest: Digest,
    /// File name inside the artifact, and the read-only file that holds its bytes.
    pub files: BTreeMap<String, PathBuf>,
}

impl Artifact {
    /// The file named `name`.
    ///
    /// # Errors
    /// If the artifact has none; the message lists those that it has.
    pub fn file(&self, name: &str) -> Result<&Path> {
        self.files.get(name).map(PathBuf::as_path).ok_or_else(|| {
            let have: Vec<_> = self.files.keys().map(String::as_str).collect();
            Error::input(format!("artifact {} has no file `{name}`; it has: {}", self.digest.short(), have.join(", ")))
        })
    }

    /// The only file of the artifact, with its name.
    ///
    /// # Errors
    /// If it has none, or several.
    pub fn single(&self) -> Result<(&str, &Path)> {
        match self.files.iter().next() {
            Some((name, path)) if self.files.len() == 1 => Ok((name, path)),
            _ => Err(Error::input(format!(
                "artifact {} has {} files where one is needed",
                self.digest.short(),
                self.files.len()
            ))),
        }
    }
}
