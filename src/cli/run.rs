//! `emopipe run`.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Failure, Outcome, Planned,
    args::{RunArgs, SelectionArgs},
    load_all, open_store, problems, remote,
    view::View,
};
use crate::{
    engine::{
        Resources, machine,
        plan::Selection,
        schedule::{self, Options},
    },
    error::Error,
    remote::{Remote, secrets},
};

pub fn run(args: &RunArgs) -> Outcome {
    let Planned { plan, sources, remote } = load_all(&args.pipeline)?;
    let remote = if args.offline { None } else { remote::settings(remote)? };
    let store = Arc::new(open_store(&args.pipeline, &plan)?);
    let (selected, forced) = plan.select(&selection(&args.selection))?;
    // A remote may have what is to be fetched by hand, if it can be asked for.
    let pulls = remote.as_ref().is_some_and(|remote| remote.pull);
    let needed = selected.into_iter().filter(|i| !pulls || plan.actions[*i].resolved.keyless).collect();
    let missing = plan.missing(&needed, &forced, &store);
    if !missing.is_empty() {
        return Err(problems(&missing, &sources, &args.pipeline.pipeline));
    }
    let machine = machine::resources();
    let options = Options {
        machine: Resources {
            cores: args.cores.unwrap_or(machine.cores).max(1),
            memory: args.memory.unwrap_or(machine.memory),
            gpus: args.gpus.unwrap_or(machine.gpus),
        },
        jobs: args.jobs,
        keep_going: args.keep_going,
        selection: selection(&args.selection),
        env: environment(args)?,
        withheld: if remote.is_some() { secrets::variables() } else { Vec::new() },
        remote: remote.map(Remote::new),
    };
    let stop = listen()?;
    let mut view = View::new(std::io::stderr().is_terminal());
    let summary = schedule::run(&plan, &store, &options, &mut view, &stop)?;
    view.finish(&summary);
    match (summary.interrupted, summary.failed.is_empty()) {
        (true, _) => Err(Failure::Interrupted),
        (false, false) => Err(Failure::Actions),
        (false, true) => Ok(()),
    }
}

pub fn selection(args: &SelectionArgs) -> Selection {
    Selection { only: args.only.clone(), until: args.until.clone(), force: args.force.clone() }
}

/// What workers must know that isn't part of an action.
fn environment(args: &RunArgs) -> Result<Vec<(String, String)>, Error> {
    let mut env = Vec::new();
    if let Some(mirror) = &args.pipeline.mirror {
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

/// Counts SIGINT and SIGTERM instead of dying of them.
fn listen() -> Result<Arc<AtomicUsize>, Error> {
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let count = Arc::clone(&stop);
        // SAFETY: the handler only adds to an atomic, which is allowed in a signal handler.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        }
        .map_err(|e| Error::environment(format!("can't listen for signals: {e}")))?;
    }
    Ok(stop)
}
