//! `emopipe supervise`: the process below which a command of an `exec` stage runs.

use clap::Args;

use crate::{
    cli::{cli_command::CliCommand, command_result::CommandResult},
    process,
};

/// Watch over one command; started by a worker.
#[derive(Args)]
pub struct SuperviseArgs {}

impl CliCommand for SuperviseArgs {
    const NAME: &'static str = "supervise";
    const HIDDEN: bool = true;
    const COMPUTES: bool = false;

    fn execute(&self) -> CommandResult {
        Ok(process::serve()?)
    }
}
