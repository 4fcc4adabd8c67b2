//! `emopipe run`: computes what has changed, reuses the rest, places the reports.

use std::{collections::HashMap, path::Path, sync::Arc, time::Instant};

use clap::Args;

use super::lock;
use crate::{
    base::{error::Error, machine, tracked_fs::TrackedFs},
    cli::{
        cli_command::CliCommand,
        command_result::{CommandResult, Failure},
        limit_args::LimitArgs,
        load_plan::{Planned, load_all},
        nearest_profile::{beyond_this_machine, nearest_profile},
        pipeline_args::{PipelineArgs, SelectionArgs},
        refusal::refused,
        remote_traffic,
        run_view::View,
        signals,
        store_audit::audit,
        terminal::say,
    },
    config,
    engine::{
        memo::{self, Question},
        plan::Plan,
        scheduler::{self, Options},
    },
    estimate::feasibility::{Assessed, Machine},
    remote::{Remote, credentials},
    store::Store,
};

/// Run a pipeline: compute what has changed, reuse the rest, place the reports.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Go on with what doesn't depend on a failed action.
    #[arg(short, long)]
    pub keep_going: bool,
    /// Never touch the network.
    #[arg(long, env = "EMOPIPE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Fail where a download or a report would differ from the lock file.
    #[arg(long)]
    pub locked: bool,
    /// Read the whole store first, and compute again what has rotted.
    #[arg(long)]
    pub verify: bool,
    /// Replace files in the way of exports that emopipe didn't write, or that were edited since.
    #[arg(long)]
    pub overwrite: bool,
}

impl CliCommand for RunArgs {
    const NAME: &'static str = "run";

    fn execute(&self) -> CommandResult {
        run(self)
    }
}

fn run(args: &RunArgs) -> CommandResult {
    let started = Instant::now();
    let given = args.limits.limits(machine::resources());
    let question = question(args);
    if let Some((store, memo)) = question.as_ref().and_then(|question| memo::recall(question, given.machine)) {
        let mut view = View::new(None);
        // If the journal can't be written, the long way says so.
        if let Ok(summary) = memo.replay(&store, started, &mut view) {
            view.finish(&summary, memo.scores());
            return Ok(());
        }
    }
    let Planned { mut plan, sources, profiles, remote } = load_all(&args.pipeline)?;
    let folder = args.pipeline.store_folder(&plan.spec.pipeline.root);
    if args.verify && Store::exists(&folder) {
        repair(&folder)?;
    }
    let remote = if args.offline { None } else { remote_traffic::settings(remote, &plan.spec.tracked_fs)? };
    let store = Arc::new(args.pipeline.open_store(&plan)?);
    let mut machine = Machine::of(&plan);
    let limits = args.limits.limits(machine.resources);
    machine.resources = limits.machine;
    let (selected, forced) = plan.select(&args.selection.selection())?;
    // A remote may have what can't be computed here and what is to be fetched by hand, if it can be asked for.
    let pulls = remote.as_ref().is_some_and(|remote| remote.pull);
    assess(args, &mut plan, &profiles, &store, &machine, pulls)?;
    let needed = selected.into_iter().filter(|i| !pulls || plan.actions[*i].resolved.keyless).collect();
    let missing = plan.missing(&needed, &forced, &store);
    if !missing.is_empty() {
        return Err(refused(&missing, &sources, &args.pipeline.pipeline));
    }
    let expected = if args.locked { lock::expected(&args.pipeline.pipeline, &plan, &store)? } else { HashMap::new() };
    let options = Options {
        limits,
        keep_going: args.keep_going,
        selection: args.selection.selection(),
        env: environment(args, &plan.spec.tracked_fs)?,
        check: false,
        expected,
        withheld: if remote.is_some() { credentials::variables() } else { Vec::new() },
        remote: remote.map(Remote::new),
        overwrite: args.overwrite,
    };
    let stop = signals::listen()?;
    let mut view = View::new(Some(&store));
    let summary = scheduler::run(&plan, &store, &options, &mut view, &stop)?;
    let scores = view.scores();
    view.finish(&summary, &scores);
    if let Some(question) = &question
        && let Err(e) = memo::remember(question, &plan, &store, given.machine, &summary, scores)
    {
        tracing::debug!("no memo: {}", e.message);
    }
    // The process ends now, and the system takes a large plan's memory back faster than we could, piece by piece.
    std::mem::forget((plan, store));
    match (summary.interrupted, summary.failed.is_empty()) {
        (true, _) => Err(Failure::Interrupted),
        (false, false) => Err(Failure::Actions),
        (false, true) => Ok(()),
    }
}

/// Reads the whole store and drops what has rotted.
fn repair(folder: &Path) -> Result<(), Error> {
    let store = Store::open_alone(folder)?;
    let audit = audit(&store)?;
    if !audit.damage.is_empty() {
        let done = store.repair(&audit)?;
        say(&format!(
            "{} damaged places in the store: {} results are computed again",
            audit.damage.len(),
            done.results
        ));
    }
    Ok(())
}

/// Lets actions occupy what is known of their memory. Stops before anything is fetched where this machine can't do what is
/// asked for, unless a remote may have done it.
fn assess(
    args: &RunArgs,
    plan: &mut Plan,
    profiles: &[String],
    store: &Store,
    machine: &Machine,
    pulls: bool,
) -> CommandResult {
    if plan.actions.iter().all(|a| a.resolved.memory.is_none()) {
        return Ok(());
    }
    let (selected, forced) = plan.select(&args.selection.selection())?;
    let forecasts = plan.forecast(store, &forced);
    let footprints = plan.footprints(&forecasts, store);
    let assessed = Assessed { plan, store, selected: &selected, forecasts: &forecasts, footprints: &footprints };
    let diagnostics = assessed.diagnostics(machine);
    if !diagnostics.is_empty() && !pulls {
        let nearest = nearest_profile(&args.pipeline, plan, profiles, machine, store);
        return Err(beyond_this_machine(&args.pipeline, plan, &diagnostics, nearest).into());
    }
    plan.occupy(&footprints);
    Ok(())
}

/// What a memo would have to be of; none where the user wants more than a glance.
fn question(args: &RunArgs) -> Option<Question> {
    let RunArgs { pipeline, selection, offline, locked, verify, .. } = args;
    let off = std::env::var_os("EMOPIPE_MEMO").is_some_and(|v| v == "off");
    if *verify || off || !selection.force.is_empty() {
        return None;
    }
    let pipeline = pipeline.clone();
    Some(Question {
        folder: std::env::current_dir().ok()?,
        pipeline: pipeline.pipeline,
        profile: pipeline.profile,
        set: pipeline.set,
        store: pipeline.store,
        data: pipeline.data,
        mirror: pipeline.mirror,
        settings: config::user_config_path(&TrackedFs::default()),
        only: selection.only.clone(),
        until: selection.until.clone(),
        offline: *offline,
        locked: *locked,
    })
}

/// What workers must know that isn't part of an action.
fn environment(args: &RunArgs, tracked_fs: &TrackedFs) -> Result<Vec<(String, String)>, Error> {
    let mut env = Vec::new();
    if let Some(mirror) = &args.pipeline.mirror {
        tracked_fs.real(mirror);
        let mirror = mirror.canonicalize().map_err(|e| {
            Error::io("open the mirror", mirror, &e).help("`--mirror` names a folder laid out as HOST/PATH")
        })?;
        env.push(("EMOPIPE_MIRROR".to_owned(), mirror.display().to_string()));
    }
    if args.offline {
        env.push(("EMOPIPE_OFFLINE".to_owned(), "1".to_owned()));
    }
    Ok(env)
}
