//! What goes over the socket between a supervisor and whoever gave it its task.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What a supervisor is to do. Goes through a socket and not through its environment, which others may read.
#[derive(Serialize, Deserialize)]
pub struct Task {
    /// Program and arguments.
    pub words: Vec<OsString>,
    /// The command's whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub folder: OsString,
    /// A file that one supervisor at a time holds: a second attempt waits for what is left of the first.
    pub lock: OsString,
}

/// How a command ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    /// Why it didn't begin.
    pub not_started: Option<String>,
    /// Whether that was for want of processes or memory.
    pub scarce: bool,
    /// As the system tells it; none where it was never heard.
    pub status: Option<i32>,
    /// Whether one of its processes was killed by somebody else.
    pub killed: bool,
    /// Bytes that all of its processes held together at the worst moment.
    pub peak_memory: u64,
    /// Whether the kernel ended processes for want of memory meanwhile, where the command was.
    pub ran_short: bool,
    /// Processes that it left running and that had to be ended.
    pub left: Vec<String>,
    /// Processes that couldn't be ended.
    pub remaining: Vec<String>,
}
