//! Where actions are carried out: one file an executor, one line in `REGISTRY`.

mod contract;
mod executors;
mod in_process;
mod worker_process;

pub use contract::{Assignment, Cancel, Events, Executor, OpenExecutor, Site};
pub use executors::REGISTRY;
