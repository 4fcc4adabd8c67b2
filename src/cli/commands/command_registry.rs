//! Every command, in the order of the help.

use super::{
    accept::AcceptArgs, clean::CleanArgs, diff::DiffArgs, du::DuArgs, explain::ExplainArgs, gc::GcArgs,
    graph::GraphArgs, lock::LockArgs, pin::PinArgs, plan_command::PlanArgs, pull::PullArgs, push::PushArgs,
    run::RunArgs, schema_command::SchemaArgs, status::StatusArgs, supervise::SuperviseArgs, verify::VerifyArgs,
    worker_command::WorkerArgs,
};
use crate::cli::{bench::BenchArgs, cli_command::CommandEntry};

/// Every command but `completions`, which is about these.
pub const COMMANDS: &[CommandEntry] = &[
    CommandEntry::of::<RunArgs>(),
    CommandEntry::of::<PlanArgs>(),
    CommandEntry::of::<StatusArgs>(),
    CommandEntry::of::<ExplainArgs>(),
    CommandEntry::of::<DiffArgs>(),
    CommandEntry::of::<GraphArgs>(),
    CommandEntry::of::<PinArgs>(),
    CommandEntry::of::<CleanArgs>(),
    CommandEntry::of::<GcArgs>(),
    CommandEntry::of::<DuArgs>(),
    CommandEntry::of::<VerifyArgs>(),
    CommandEntry::of::<LockArgs>(),
    CommandEntry::of::<AcceptArgs>(),
    CommandEntry::of::<BenchArgs>(),
    CommandEntry::of::<PushArgs>(),
    CommandEntry::of::<PullArgs>(),
    CommandEntry::of::<SchemaArgs>(),
    CommandEntry::of::<WorkerArgs>(),
    CommandEntry::of::<SuperviseArgs>(),
];
