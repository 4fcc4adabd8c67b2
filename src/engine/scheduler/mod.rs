//! Runs a plan: every action once, as soon as its inputs are known and its resources are free. Nothing here depends on what
//! actions mean.
//!
//! One thread owns all state (`event_loop`); executors and the remote store send it signals.

mod admission;
mod error_prose;
mod event_log;
mod event_loop;
mod in_flight;
mod lookup;
mod project_exports;
mod recovery;
mod run_context;
mod run_options;
mod run_summary;
mod sharing;
mod simulation;
mod state;
mod walk;
mod worker_requests;

pub use admission::{Grant, Limits};
pub use event_loop::{run, run_on};
pub use run_context::run_name;
pub use run_options::Options;
pub use run_summary::{RemoteSummary, Summary};
pub use simulation::{Simulation, simulate};
