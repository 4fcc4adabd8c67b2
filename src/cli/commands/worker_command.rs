//! `emopipe worker`: the process that an action runs in.

use clap::Args;

use crate::{
    cli::{cli_command::CliCommand, command_result::CommandResult},
    engine::worker,
    stages,
};

/// Run one action; started by `run`.
#[derive(Args)]
pub struct WorkerArgs {}

impl CliCommand for WorkerArgs {
    const NAME: &'static str = "worker";
    const HIDDEN: bool = true;
    const COMPUTES: bool = false;

    fn execute(&self) -> CommandResult {
        Ok(worker::serve(stages::REGISTRY)?)
    }
}
