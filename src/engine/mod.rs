//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

mod kind;

pub use kind::{
    Artifact, Context, Isolation, Job, Progress, Registry, ResolveContext, Resolved, Resources, StageKind, Unwatched,
};
