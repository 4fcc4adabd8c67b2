//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

pub mod accept;
mod agree;
pub mod environment;
pub mod execute;
pub mod explain;
mod exports;
pub mod history;
pub mod journal;
pub mod key;
mod kind;
pub mod lineage;
pub mod lockfile;
pub mod machine;
pub mod memo;
pub mod plan;
pub mod schedule;
pub mod worker;

pub use kind::{
    Artifact, Context, Estimate, Footprint, Isolation, Job, Progress, Registry, ResolveContext, Resolved, Resources,
    StageKind, Unwatched, Usual, Work, vocabulary_entry,
};
pub use machine::Device;
