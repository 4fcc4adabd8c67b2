//! `emopipe plan`: what `run` would do, and why.

use std::fmt::Write;

use super::{Outcome, Planned, args::PlanArgs, load_all, open_store, print, problems, run::selection, view::bytes};
use crate::engine::plan::Forecast;

pub fn plan(args: &PlanArgs) -> Outcome {
    let Planned { plan, sources, .. } = load_all(&args.pipeline)?;
    let store = open_store(&args.pipeline, &plan)?;
    let (selected, forced) = plan.select(&selection(&args.selection))?;
    let forecasts = plan.forecast(&store, &forced);
    let mut out = String::new();
    let (mut run, mut cached) = (0, 0);
    for (i, forecast) in forecasts.iter().enumerate().filter(|(i, _)| selected.contains(i)) {
        let action = &plan.actions[i];
        match forecast {
            Forecast::Cached { outcome, .. } => {
                cached += 1;
                if args.all {
                    let _ = writeln!(
                        out,
                        "cached  {}  {} {}",
                        action.name,
                        outcome.artifact.short(),
                        bytes(outcome.size())
                    );
                }
            }
            Forecast::Run { reasons } => {
                run += 1;
                let needs = action.resolved.resources;
                let gpus = if needs.gpus > 0 { format!(", {} GPU(s)", needs.gpus) } else { String::new() };
                let _ =
                    writeln!(out, "run     {}  ({} core(s), {}{gpus})", action.name, needs.cores, bytes(needs.memory));
                for reason in reasons {
                    let _ = writeln!(out, "          {reason}");
                }
            }
        }
    }
    let profile = plan.spec.profile.as_ref().map_or_else(String::new, |p| format!(", profile {p}"));
    let _ = writeln!(out, "{}{profile}: {run} to run, {cached} cached", plan.spec.pipeline.name);
    print(&out);
    let missing = plan.missing(&selected, &forced, &store);
    if missing.is_empty() { Ok(()) } else { Err(problems(&missing, &sources, &args.pipeline.pipeline)) }
}
