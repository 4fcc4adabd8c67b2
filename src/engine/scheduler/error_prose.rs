//! What people are told when an action can't run, or has failed.

use std::collections::BTreeMap;

use super::run_context::RunContext;
use crate::{
    base::{
        digest::Digest,
        error::{Category, Error, Result},
        machine::Resources,
        units::bytes,
    },
    engine::{
        Artifact,
        plan::{Action, Forecast},
    },
};

/// Fails before anything runs where an action that would run can never start on this machine, unless a remote may have its
/// result.
///
/// # Errors
/// Of the first such action.
pub fn check_fits(cx: &RunContext) -> Result<()> {
    let beyond = |i: &usize| beyond_machine(cx.action(*i), cx.options.limits.machine).is_some();
    let mut large: Vec<usize> = cx.selected.iter().copied().filter(beyond).collect();
    if large.is_empty() || cx.options.remote.as_ref().is_some_and(|remote| remote.settings().pull) {
        return Ok(());
    }
    large.sort_unstable();
    let forecasts = cx.plan.forecast(cx.store, &cx.forced);
    let runs = large.into_iter().find(|i| matches!(forecasts[*i], Forecast::Run { .. }));
    runs.and_then(|i| beyond_machine(cx.action(i), cx.options.limits.machine)).map_or(Ok(()), Err)
}

/// Why an action can never start on a machine.
pub fn beyond_machine(action: &Action, machine: Resources) -> Option<Error> {
    let Action { name, resolved, .. } = action;
    let needs = resolved.resources;
    if needs.memory > machine.memory {
        let (needs, machine) = (bytes(needs.memory), bytes(machine.memory));
        let help = "lower the stage's batch size or `resources.memory`, raise `--memory`, or choose a smaller profile";
        return Some(
            Error::environment(format!("{name} needs {needs} of memory, and {machine} may be used")).help(help),
        );
    }
    (needs.gpus > machine.gpus).then(|| {
        let (needs, machine) = (needs.gpus, machine.gpus);
        Error::environment(format!("{name} needs {needs} GPU(s), and this machine has {machine}"))
            .help("choose a profile for machines without a GPU")
    })
}

/// An input outside of the selection has no result.
pub fn not_in_store(name: &str, input: &str) -> Error {
    unselected(format!("{name} needs {input}, which isn't in the store"))
}

/// An input outside of the selection has lost its result.
pub fn no_longer_in_store(name: &str, input: &str) -> Error {
    unselected(format!("{name} needs {input}, which is no longer in the store"))
}

fn unselected(message: String) -> Error {
    Error::input(message).help("run without `--only`, or with `--until` instead")
}

/// A result isn't what the lock file says.
pub fn not_as_locked(name: &str, artifact: Digest, expected: Digest) -> Error {
    Error::input(format!("{name} gives {}, and the lock file says {}", artifact.short(), expected.short())).help(
        "if the change is wanted, run without `--locked`, look at it, and write the file anew with `emopipe lock`",
    )
}

/// A failure for want of memory, with what the plan foresaw, and with settings that need a quarter less; any other as it is.
pub fn beside_plan(error: Error, action: &Action, inputs: &BTreeMap<String, Vec<Artifact>>) -> Error {
    let Some(estimate) = action.resolved.memory.as_ref().filter(|_| error.category == Category::Memory) else {
        return error;
    };
    let Ok(footprint) = estimate.footprint(inputs) else { return error };
    let parts: Vec<_> = footprint.parts.iter().map(|(what, n)| format!("{what} {}", bytes(*n))).collect();
    let error = Error {
        message: format!("{}; the plan foresaw {}: {}", error.message, bytes(footprint.total()), parts.join(", ")),
        ..error
    };
    match estimate.remedies(inputs, footprint.total() / 4 * 3).as_slice() {
        [] => error,
        some => error.help(format!("any of these needs a quarter less: {}", some.join("; "))),
    }
}
