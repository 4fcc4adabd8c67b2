//! Plan, schedule, execute, journal, explain. Knows actions, not what they mean.

pub mod acceptance;
mod action_context;
mod approximate_match;
mod cost_estimate;
pub mod execute;
pub mod executor;
pub mod history;
mod job;
pub mod journal;
pub mod key;
pub mod lineage;
pub mod lockfile;
pub mod memo;
mod parallel;
pub mod plan;
pub mod reasons;
mod resolved;
pub mod scheduler;
mod stage_kind;
mod typed_stage;
pub mod worker;
pub mod worker_env;
pub mod worker_request;

pub use action_context::{Context, Progress, Unwatched};
pub use cost_estimate::{Footprint, MemoryEstimate, TimeEstimate, Usual};
pub use job::{Artifact, Job};
pub use resolved::Resolved;
pub use stage_kind::{Isolation, Registry, ResolveContext, StageKind, vocabulary_entry};
pub use typed_stage::TypedStage;
