//! `emopipe run`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{
    CommandResult, Failure, Planned,
    args::{RunArgs, SelectionArgs},
    feasibility::{Assessed, Machine, nearest_profile, refusal},
    load_all, lock, open_store, problems, remote, store_folder,
    terminal::say,
    verify,
    view::View,
};
use crate::{
    base::{error::Error, machine, tracked_fs::TrackedFs},
    config,
    engine::{
        Resources,
        memo::{self, Question},
        plan::{Plan, Selection},
        scheduler::{self, Options},
    },
    remote::{Remote, credentials},
    store::Store,
};

pub fn run(args: &RunArgs) -> CommandResult {
    let started = Instant::now();
    let given = allowed(args, machine::resources());
    let question = question(args);
    if let Some((store, memo)) = question.as_ref().and_then(|question| memo::recall(question, given)) {
        let mut view = View::new(None);
        // If the journal can't be written, the long way says so.
        if let Ok(summary) = memo.replay(&store, started, &mut view) {
            view.finish(&summary, memo.scores());
            return Ok(());
        }
    }
    let Planned { mut plan, sources, profiles, remote } = load_all(&args.pipeline)?;
    let folder = store_folder(&args.pipeline, &plan);
    if args.verify && Store::exists(&folder) {
        let store = Store::open_alone(&folder)?;
        let audit = verify::audit(&store)?;
        if !audit.damage.is_empty() {
            let done = store.repair(&audit)?;
            say(&format!(
                "{} damaged places in the store: {} results are computed again",
                audit.damage.len(),
                done.results
            ));
        }
    }
    let remote = if args.offline { None } else { remote::settings(remote, &plan.spec.tracked_fs)? };
    let store = Arc::new(open_store(&args.pipeline, &plan)?);
    let mut machine = Machine::of(&plan);
    machine.resources = allowed(args, machine.resources);
    let (selected, forced) = plan.select(&selection(&args.selection))?;
    // A remote may have what can't be computed here and what is to be fetched by hand, if it can be asked for.
    let pulls = remote.as_ref().is_some_and(|remote| remote.pull);
    assess(args, &mut plan, &profiles, &store, &machine, pulls)?;
    let needed = selected.into_iter().filter(|i| !pulls || plan.actions[*i].resolved.keyless).collect();
    let missing = plan.missing(&needed, &forced, &store);
    if !missing.is_empty() {
        return Err(problems(&missing, &sources, &args.pipeline.pipeline));
    }
    let expected = if args.locked { lock::expected(&args.pipeline.pipeline, &plan, &store)? } else { HashMap::new() };
    let options = Options {
        machine: machine.resources,
        jobs: args.jobs,
        keep_going: args.keep_going,
        selection: selection(&args.selection),
        env: environment(args, &plan.spec.tracked_fs)?,
        check: false,
        expected,
        withheld: if remote.is_some() { credentials::variables() } else { Vec::new() },
        remote: remote.map(Remote::new),
        overwrite: args.overwrite,
    };
    let stop = listen()?;
    let mut view = View::new(Some(&store));
    let summary = scheduler::run(&plan, &store, &options, &mut view, &stop)?;
    let scores = view.scores();
    view.finish(&summary, &scores);
    if let Some(question) = &question
        && let Err(e) = memo::remember(question, &plan, &store, given, &summary, scores)
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

/// What of the machine a run may use.
fn allowed(args: &RunArgs, machine: Resources) -> Resources {
    Resources {
        cores: args.cores.unwrap_or(machine.cores).max(1),
        memory: args.memory.unwrap_or(machine.memory),
        gpus: args.gpus.unwrap_or(machine.gpus),
    }
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
    let (selected, forced) = plan.select(&selection(&args.selection))?;
    let forecasts = plan.forecast(store, &forced);
    let footprints = plan.footprints(&forecasts, store);
    let assessed = Assessed { plan, store, selected: &selected, forecasts: &forecasts, footprints: &footprints };
    let obstacles = assessed.obstacles(machine);
    if !obstacles.is_empty() && !pulls {
        let nearest = nearest_profile(&args.pipeline, plan, profiles, machine, store);
        return Err(refusal(&args.pipeline, plan, &obstacles, nearest).into());
    }
    plan.occupy(&footprints);
    Ok(())
}

pub fn selection(args: &SelectionArgs) -> Selection {
    Selection { only: args.only.clone(), until: args.until.clone(), force: args.force.clone() }
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

/// Counts SIGINT and SIGTERM instead of dying of them, and goes on when the terminal closes.
pub fn listen() -> Result<Arc<AtomicUsize>, Error> {
    let stop = Arc::new(AtomicUsize::new(0));
    let deaf = |e| Error::environment(format!("can't listen for signals: {e}"));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).map_err(deaf)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let count = Arc::clone(&stop);
        // SAFETY: the handler only adds to an atomic, which is allowed in a signal handler.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        }
        .map_err(deaf)?;
    }
    Ok(stop)
}
