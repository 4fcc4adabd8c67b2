//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

pub mod acceptance;
mod agree;
pub mod execute;
mod exports;
pub mod history;
pub mod journal;
pub mod key;
mod kind;
pub mod lineage;
pub mod lockfile;
pub mod memo;
pub mod plan;
pub mod reasons;
pub mod scheduler;
pub mod worker;
pub mod worker_env;

pub use crate::base::machine::Resources;
pub use kind::{
    Artifact, Context, Estimate, Footprint, Isolation, Job, Progress, Registry, ResolveContext, Resolved, StageKind,
    Unwatched, Usual, Work, vocabulary_entry,
};
