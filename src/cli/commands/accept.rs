//! `emopipe accept`: earlier results stand for changed descriptions, because a human says so.

use std::fmt::Write;

use clap::Args;

use crate::{
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::acceptance,
};

/// Vouch that a change can't alter a stage's results: the earlier ones stand, and reports say so.
#[derive(Args)]
pub struct AcceptArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// A stage, an action, or some axes of a stage.
    pub stage: String,
    /// Why the change can't alter the results; reports quote it.
    #[arg(short, long)]
    pub note: String,
}

impl CliCommand for AcceptArgs {
    const NAME: &'static str = "accept";

    fn execute(&self) -> CommandResult {
        accept(self)
    }
}

fn accept(args: &AcceptArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let store = args.pipeline.open_store(&plan)?;
    let accepted = acceptance::accept(&plan, &store, &plan.matching(&args.stage)?, &args.note)?;
    let mut out = String::new();
    for a in &accepted {
        let _ = writeln!(out, "{}: {} stands", a.action, a.artifact.short());
        for reason in &a.reasons {
            let _ = writeln!(out, "    {reason}");
        }
    }
    let _ = writeln!(out, "{} accepted; reports made from them will say so", accepted.len());
    print(&out);
    Ok(())
}
