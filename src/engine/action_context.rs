//! What a running action may use, and how it is watched and stopped.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::job::{Artifact, Job};
use crate::base::error::{Error, IoAt, Result};

/// What a running action may use.
pub struct Context<'a> {
    pub job: &'a Job,
    /// Empty folder that becomes the artifact.
    pub out: &'a Path,
    /// Place of [`Context::work_folder`].
    pub work: &'a Path,
    pub progress: &'a dyn Progress,
}

impl Context<'_> {
    /// The action's parameters, as the kind's own type.
    ///
    /// # Errors
    /// If they are none such.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T> {
        self.read("parameters", &self.job.params)
    }

    /// What the work needs besides, as the kind's own type.
    ///
    /// # Errors
    /// If it is none such.
    pub fn unkeyed<T: DeserializeOwned>(&self) -> Result<T> {
        self.read("unkeyed parameters", &self.job.unkeyed)
    }

    /// What of that is written down nowhere, as the kind's own type.
    ///
    /// # Errors
    /// If it is none such.
    pub fn private<T: DeserializeOwned>(&self) -> Result<T> {
        self.read("private parameters", &self.job.private)
    }

    fn read<T: DeserializeOwned>(&self, what: &str, value: &serde_json::Value) -> Result<T> {
        T::deserialize(value).map_err(|e| Error::internal(format!("{what} of {}: {e}", self.job.action)))
    }

    /// The artifacts of a role; empty where the role has none.
    pub fn inputs(&self, role: &str) -> &[Artifact] {
        self.job.inputs.get(role).map_or(&[], Vec::as_slice)
    }

    /// The one artifact of a role.
    ///
    /// # Errors
    /// If the role has none, or several.
    pub fn input(&self, role: &str) -> Result<&Artifact> {
        match self.inputs(role) {
            [one] => Ok(one),
            many => Err(Error::input(format!("{} needs one `{role}` input and has {}", self.job.action, many.len()))),
        }
    }

    /// A private folder that outlives an interruption: partial downloads, checkpoints. Removed after success.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn work_folder(&self) -> Result<&Path> {
        std::fs::create_dir_all(self.work).io_at("create", self.work)?;
        Ok(self.work)
    }

    /// An error where the user asked to stop; to be called where stopping loses nothing.
    ///
    /// # Errors
    /// `interrupted` where that is so.
    pub fn checkpoint_reached(&self) -> Result<()> {
        if self.progress.stop_requested() { Err(Error::interrupted("stopped on request")) } else { Ok(()) }
    }
}

/// How a running action is watched and stopped.
pub trait Progress: Sync {
    /// `done` of `total` `unit`s (`step`, `byte`, `example`), with a short note such as `loss 0.41`.
    fn step(&self, done: u64, total: u64, unit: &str, note: &str);

    /// One line for the journal and the terminal.
    fn message(&self, text: &str);

    /// A measured quantity that must not enter artifacts (seconds, bytes of memory, examples per second).
    fn measure(&self, name: &str, value: f64);

    /// A training step has given its device all work of a phase: `forward` and `backward` (of each row in turn), `norm`,
    /// `optimiser`. For benchmarks.
    fn phase(&self, _name: &str) {}

    fn stop_requested(&self) -> bool;
}

/// For tests and library use: nobody watches.
pub struct Unwatched;

impl Progress for Unwatched {
    fn step(&self, _: u64, _: u64, _: &str, _: &str) {}
    fn message(&self, _: &str) {}
    fn measure(&self, _: &str, _: f64) {}
    fn stop_requested(&self) -> bool {
        false
    }
}
