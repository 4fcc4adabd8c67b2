//! All executors of the program.

use super::contract::OpenExecutor;

/// An action goes to the first one that takes it.
pub static REGISTRY: &[OpenExecutor] =
    &[super::in_process::InProcess::open, super::worker_process::WorkerProcess::open];
