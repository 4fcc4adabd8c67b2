//! `emopipe lock`, and what `run --locked` asks of the file.

use std::{collections::HashMap, path::Path};

use clap::Args;

use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::{lockfile::LockFile, plan::Plan},
    store::Store,
};

/// Write the digests of all downloads and reports beside the pipeline, for `run --locked`.
#[derive(Args)]
pub struct LockArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
}

impl CliCommand for LockArgs {
    const NAME: &'static str = "lock";

    fn execute(&self) -> CommandResult {
        lock(&self.pipeline)
    }
}

fn lock(args: &PipelineArgs) -> CommandResult {
    let plan = load(args)?;
    let store = args.open_store_to_read(&plan)?;
    let path = LockFile::path(&args.pipeline);
    let before = LockFile::read(&path, &plan.spec.tracked_fs)?;
    let mut after = before.clone();
    after.lock(&plan, &plan.forecast(&store, &Default::default()))?;
    if before == after {
        print(&format!("{} is up to date\n", path.display()));
    } else {
        after.write(&path)?;
        print(&format!("{} written\n", path.display()));
    }
    Ok(())
}

/// The artifacts that a locked run must give.
///
/// # Errors
/// Where it is clear before the run that something differs.
pub fn expected(pipeline: &Path, plan: &Plan, store: &Store) -> Result<HashMap<String, Digest>> {
    let path = LockFile::path(pipeline);
    let file = LockFile::read(&path, &plan.spec.tracked_fs)?;
    let locked = file.of(plan, &path)?;
    let found = locked.differences(plan, &plan.forecast(store, &Default::default()));
    if found.is_empty() {
        return Ok(locked.expected());
    }
    Err(Error::input(format!("{} doesn't fit this pipeline:\n  {}", path.display(), found.join("\n  "))).help(
        "if the change is wanted, run without `--locked`, look at it, and write the file anew with `emopipe lock`",
    ))
}
