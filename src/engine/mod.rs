//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

pub mod execute;
pub mod explain;
pub mod journal;
pub mod key;
mod kind;
pub mod machine;
pub mod plan;
pub mod schedule;
pub mod worker;

pub use kind::{
    Artifact, Context, Estimate, Footprint, Isolation, Job, Progress, Registry, ResolveContext, Resolved, Resources,
    StageKind, Unwatched, vocabulary_entry,
};
pub use machine::Device;
