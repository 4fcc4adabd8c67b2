//! `emopipe status`: what is done, and how the last run ended.

use std::fmt::Write;

use clap::Args;

use crate::{
    base::{error::Result, units::duration},
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::{
        history,
        journal::{self, Event},
        plan::Forecast,
    },
    store::Store,
};

/// Say what is done, and how the last run ended.
#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// List all runs of the store, too.
    #[arg(short, long)]
    pub all: bool,
}

impl CliCommand for StatusArgs {
    const NAME: &'static str = "status";

    fn execute(&self) -> CommandResult {
        status(self)
    }
}

fn status(args: &StatusArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let store = args.pipeline.open_store_to_read(&plan)?;
    let forecasts = plan.forecast(&store, &Default::default());
    let mut out = String::new();
    let width = plan.spec.stages.iter().map(|s| s.name.len()).max().unwrap_or(0);
    for stage in &plan.spec.stages {
        let of_stage: Vec<&Forecast> =
            plan.actions.iter().zip(&forecasts).filter(|(a, _)| a.stage == stage.name).map(|(_, f)| f).collect();
        if of_stage.is_empty() {
            continue;
        }
        let done = of_stage.iter().filter(|f| matches!(f, Forecast::Cached { .. })).count();
        let mark = if done == of_stage.len() { "done" } else { "open" };
        let _ = writeln!(out, "{mark}  {:width$}  {done}/{}", stage.name, of_stage.len());
    }
    if args.all {
        out.push_str(&all_runs(&store)?);
    }
    out.push_str(&last_run(&store)?);
    print(&out);
    Ok(())
}

/// One line a run, oldest first; these names are what `emopipe diff` takes.
fn all_runs(store: &Store) -> Result<String> {
    let mut out = String::new();
    for run in history::runs(store)? {
        let profile = run.profile.map_or_else(String::new, |p| format!(" ({p})"));
        let how = match run.end {
            Some(Event::RunFinished { failed, interrupted: false, seconds, .. }) => {
                format!("{failed} failed, {}", duration(seconds))
            }
            Some(_) => "interrupted".to_owned(),
            None => "under way, or killed".to_owned(),
        };
        let _ = writeln!(
            out,
            "run   {}  {}{profile}: {} ran, {} reused, {how}",
            run.name,
            run.pipeline,
            run.computed.len(),
            run.results.len() - run.computed.len()
        );
    }
    Ok(out)
}

fn last_run(store: &Store) -> Result<String> {
    let Some(run) = store.runs()?.pop() else { return Ok("no run yet\n".to_owned()) };
    let entries = journal::read(&store.root().join("runs").join(&run).join("journal.jsonl"))?;
    let mut out = String::new();
    let mut ended = false;
    for entry in &entries {
        match &entry.event {
            Event::Failed { action, error, .. } => {
                let _ = writeln!(out, "  failed: {action}: {}", error.message);
            }
            Event::RunFinished { ran, reused, failed, skipped, seconds, interrupted } => {
                ended = true;
                let how = if *interrupted { "interrupted after" } else { "ended after" };
                let _ = writeln!(
                    out,
                    "last run {run} {how} {}: {ran} ran, {reused} reused, {failed} failed, {skipped} not run",
                    duration(*seconds)
                );
            }
            _ => {}
        }
    }
    if !ended {
        let _ = writeln!(out, "last run {run} is under way, or was killed");
    }
    Ok(out)
}
