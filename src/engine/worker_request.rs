//! All that is needed to run an action anywhere.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Job, key::Preimage, reasons::Reason};
use crate::{base::digest::Digest, store::FileEntry};

/// Everything needed to run an action anywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerRequest {
    pub job: Job,
    pub key: Digest,
    /// The name under which the store remembers the action.
    pub identity: String,
    pub preimage: Preimage,
    pub reasons: Vec<Reason>,
    /// Key that the action stood for before.
    pub previous: Option<Digest>,
    pub run: String,
    /// Names of the actions that made the inputs, by role, in the order of the job's artifacts.
    #[serde(default)]
    pub makers: BTreeMap<String, Vec<String>>,
    pub store: PathBuf,
    pub purpose: Purpose,
    /// Files of the inputs whose bytes nobody has compared with their names in this run.
    pub unverified: Vec<FileEntry>,
    /// How far numbers may differ from the known result, for a check.
    pub tolerance: Option<f64>,
}

/// Why an action is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// There is no result, as far as the scheduler knows.
    Missing,
    /// The user wants it done again.
    Forced,
    /// To see whether it gives the same bytes from nothing. Nothing is published if it does.
    Check,
}
