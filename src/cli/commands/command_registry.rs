//! Every command, in the order of the help.

use crate::cli::{bench::BenchArgs, cli_command::CommandEntry};

/// Every command but `completions`, which is about these.
pub const COMMANDS: &[CommandEntry] = &[
    CommandEntry::of::<super::run::RunArgs>(),
    CommandEntry::of::<super::plan_command::PlanArgs>(),
    CommandEntry::of::<super::status::StatusArgs>(),
    CommandEntry::of::<super::explain::ExplainArgs>(),
    CommandEntry::of::<super::diff::DiffArgs>(),
    CommandEntry::of::<super::graph::GraphArgs>(),
    CommandEntry::of::<super::pin::PinArgs>(),
    CommandEntry::of::<super::clean::CleanArgs>(),
    CommandEntry::of::<super::gc::GcArgs>(),
    CommandEntry::of::<super::du::DuArgs>(),
    CommandEntry::of::<super::verify::VerifyArgs>(),
    CommandEntry::of::<super::lock::LockArgs>(),
    CommandEntry::of::<super::accept::AcceptArgs>(),
    CommandEntry::of::<BenchArgs>(),
    CommandEntry::of::<super::push::PushArgs>(),
    CommandEntry::of::<super::pull::PullArgs>(),
    CommandEntry::of::<super::schema_command::SchemaArgs>(),
    CommandEntry::of::<super::worker_command::WorkerArgs>(),
    CommandEntry::of::<super::supervise::SuperviseArgs>(),
];
