//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

pub mod acceptance;
mod agree;
pub mod execute;
pub mod executor;
pub mod history;
pub mod journal;
pub mod key;
mod kind;
pub mod lineage;
pub mod lockfile;
pub mod memo;
mod parallel;
pub mod plan;
pub mod reasons;
pub mod request;
pub mod scheduler;
pub mod worker;
pub mod worker_env;

pub use kind::{
    Artifact, Context, Estimate, Footprint, Isolation, Job, Progress, Registry, ResolveContext, Resolved, Resources,
    StageKind, Unwatched, Usual, Work, vocabulary_entry,
};
