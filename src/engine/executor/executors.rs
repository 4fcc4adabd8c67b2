//! All executors of the program.

use super::{contract::OpenExecutor, in_process::InProcess, worker_process::WorkerProcess};

/// An action goes to the first one that takes it.
pub static REGISTRY: &[OpenExecutor] = &[InProcess::open, WorkerProcess::open];
