//! Which profile of a file this machine can run, where it can't run the one that was asked for.

use std::collections::{BTreeSet, HashSet};

use super::{load_plan::load, pipeline_args::PipelineArgs};
use crate::{
    base::error::Error,
    engine::plan::Plan,
    estimate::feasibility::{Assessed, Machine},
    store::Store,
};

/// The profile of the same file that this machine can run and that has most stages in common with `plan`.
pub fn nearest_profile(
    args: &PipelineArgs,
    plan: &Plan,
    profiles: &[String],
    machine: &Machine,
    store: &Store,
) -> Option<String> {
    let stages_of = |plan: &Plan| plan.actions.iter().map(|a| a.stage.clone()).collect::<BTreeSet<_>>();
    let wanted = stages_of(plan);
    let others = profiles.iter().filter(|name| plan.spec.profile.as_ref() != Some(name));
    let fitting = others.filter_map(|name| {
        let other = load(&PipelineArgs { profile: Some(name.clone()), ..args.clone() }).ok()?;
        if args.store_folder(&other.spec.pipeline.root) != args.store_folder(&plan.spec.pipeline.root) {
            return None;
        }
        let forecasts = other.forecast(store, &HashSet::new());
        let footprints = other.footprints(&forecasts, store);
        let selected = (0..other.actions.len()).collect();
        let assessed =
            Assessed { plan: &other, store, selected: &selected, forecasts: &forecasts, footprints: &footprints };
        let fits = assessed.diagnostics(machine).is_empty();
        fits.then(|| (stages_of(&other).intersection(&wanted).count(), name.clone()))
    });
    // Of equals the first in the file.
    fitting.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, name)| name)
}

/// The error that stops a run before it has fetched anything.
pub fn beyond_this_machine(args: &PipelineArgs, plan: &Plan, diagnostics: &[String], nearest: Option<String>) -> Error {
    let profile = plan.spec.profile.as_ref().map_or_else(String::new, |p| format!(" the profile `{p}` of"));
    let reasons: Vec<_> = diagnostics.iter().map(|d| format!("\n  - {d}")).collect();
    let file = args.pipeline.display();
    let error =
        Error::environment(format!("this machine can't run{profile} {file}; nothing was fetched{}", reasons.concat()));
    match nearest {
        Some(name) => error.help(format!("the nearest profile that fits here: `emopipe run {file} --profile {name}`")),
        None => {
            error.help("no other profile of the file fits here either; `emopipe plan` shows what each action needs")
        }
    }
}
