//! `emopipe schema`: the JSON Schema of pipeline files.

use clap::Args;

use crate::{
    base::error::Error,
    cli::{cli_command::CliCommand, command_result::CommandResult, terminal::print},
    config, stages,
};

/// Print the JSON Schema of pipeline files, for editors.
#[derive(Args)]
pub struct SchemaArgs {}

impl CliCommand for SchemaArgs {
    const NAME: &'static str = "schema";
    const COMPUTES: bool = false;

    fn execute(&self) -> CommandResult {
        let schema = config::json_schema(&stages::vocabulary());
        print(&format!("{}\n", serde_json::to_string_pretty(&schema).map_err(Error::from)?));
        Ok(())
    }
}
