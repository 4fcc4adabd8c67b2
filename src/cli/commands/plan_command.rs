//! `emopipe plan`: what `run` would do, and why; what it would fetch, and what it would hold in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use clap::Args;

use crate::{
    base::{
        units::{bytes, duration},
        visible::visible_line,
    },
    cli::{
        cli_command::CliCommand,
        command_result::{CommandResult, Failure},
        limit_args::LimitArgs,
        load_plan::{Planned, load_all},
        nearest_profile::nearest_profile,
        pipeline_args::{PipelineArgs, SelectionArgs},
        refusal::refused,
        terminal::{print, say_painted},
    },
    engine::{
        Footprint,
        history::{Outlook, Timings},
        plan::Forecast,
        scheduler::Limits,
    },
    estimate::feasibility::{Assessed, Machine},
    fetch::{Fetcher, Settings},
    stages,
};

/// Say what `run` would do, and why, without doing it.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Show cached actions too.
    #[arg(short, long)]
    pub all: bool,
}

impl CliCommand for PlanArgs {
    const NAME: &'static str = "plan";

    fn execute(&self) -> CommandResult {
        plan(self)
    }
}

fn plan(args: &PlanArgs) -> CommandResult {
    let Planned { mut plan, sources, profiles, .. } = load_all(&args.pipeline)?;
    let store = args.pipeline.open_store_to_read(&plan)?;
    let (selected, forced) = plan.select(&args.selection.selection())?;
    let forecasts = plan.forecast(&store, &forced);
    let footprints = plan.footprints(&forecasts, &store);
    plan.occupy(&footprints);
    let assessed =
        Assessed { plan: &plan, store: &store, selected: &selected, forecasts: &forecasts, footprints: &footprints };
    let times = Times { earlier: Timings::read(&store)?, modelled: plan.modelled(&forecasts, &store) };
    let mut out = String::new();
    let (run, cached) = list(&assessed, &times, args.all, &mut out);
    fetches(&assessed, args, &mut out);
    let mut machine = Machine::of(&plan);
    let whole = machine.describe();
    let limits = args.limits.limits(machine.resources);
    machine.resources = limits.machine;
    memory(&assessed, args, &profiles, (&machine, &whole), &mut out);
    let profile = plan.spec.profile.as_ref().map_or_else(String::new, |p| format!(", profile {p}"));
    let name = visible_line(&plan.spec.pipeline.name);
    let _ = writeln!(out, "{name}{profile}: {run} to run, {cached} cached");
    if run > 0 {
        outlook(&assessed, &times, limits, &mut out);
    }
    print(&out);
    // What people still have to fetch is no mistake of the pipeline: a run says so, too, and doesn't begin.
    let missing = plan.missing(&selected, &forced, &store);
    if let Failure::Pipeline(text) = refused(&missing, &sources, &args.pipeline.pipeline)
        && !missing.is_empty()
    {
        say_painted(&text);
    }
    Ok(())
}

/// Where forecasts of time come from.
struct Times {
    earlier: Timings,
    /// By action, in seconds.
    modelled: Vec<Option<f64>>,
}

/// Every action with what would become of it; how many would run and how many are cached.
fn list(assessed: &Assessed, times: &Times, all: bool, out: &mut String) -> (usize, usize) {
    let (mut run, mut cached) = (0, 0);
    for (i, forecast) in assessed.forecasts.iter().enumerate().filter(|(i, _)| assessed.selected.contains(i)) {
        let action = &assessed.plan.actions[i];
        match forecast {
            Forecast::Cached { result, .. } => {
                cached += 1;
                if all {
                    let size = bytes(result.size());
                    let _ = writeln!(out, "cached  {}  {} {size}", action.name, result.artifact.short());
                }
            }
            Forecast::Run { reasons, .. } => {
                run += 1;
                let needs = action.resolved.resources;
                let gpus = if needs.gpus > 0 { format!(", {} GPU(s)", needs.gpus) } else { String::new() };
                let time = match (times.earlier.estimate(&assessed.plan.identity(i)), times.modelled[i]) {
                    (Some((seconds, _)), _) => duration(seconds),
                    (None, Some(seconds)) => format!("very roughly {}", duration(seconds)),
                    (None, None) => "time unknown".to_owned(),
                };
                let _ = writeln!(
                    out,
                    "run     {}  ({time}, {} core(s), {}{gpus})",
                    action.name,
                    needs.cores,
                    bytes(needs.memory)
                );
                for reason in reasons {
                    let _ = writeln!(out, "          {reason}");
                }
            }
        }
    }
    (run, cached)
}

/// What the run would take, going by earlier ones where there are any.
fn outlook(assessed: &Assessed, times: &Times, limits: Limits, out: &mut String) {
    let Assessed { plan, forecasts, selected, .. } = *assessed;
    let outlook = Outlook::new(plan, forecasts, selected, (&times.earlier, &times.modelled), limits);
    let basis = match outlook.modelled {
        0 => "going by earlier runs".to_owned(),
        n => format!("going by earlier runs, and very roughly by the amount of work for {n} that never ran here"),
    };
    let unknown = match outlook.unknown {
        0 => String::new(),
        n => format!(", not counting {n} of unknown time"),
    };
    let _ = writeln!(
        out,
        "about {} {basis}{unknown}; {} to write, {} of memory at most",
        duration(outlook.seconds),
        bytes(outlook.disk),
        bytes(outlook.memory)
    );
}

/// Files that would be fetched, with their sizes, and whether a copy is at hand.
fn fetches(assessed: &Assessed, args: &PlanArgs, out: &mut String) {
    let mut settings = Settings::from_env();
    if args.pipeline.mirror.is_some() {
        settings.mirror = args.pipeline.mirror.clone();
    }
    let fetcher = Fetcher::new(settings);
    let mut seen = BTreeSet::new();
    let mut lines = Vec::new();
    let (mut network, mut unknown) = (0, 0);
    for (i, forecast) in assessed.forecasts.iter().enumerate().filter(|(i, _)| assessed.selected.contains(i)) {
        let (Forecast::Run { .. }, action) = (forecast, &assessed.plan.actions[i]) else { continue };
        for (name, source) in stages::to_fetch(action.kind.name(), &action.resolved) {
            if !seen.insert((source.url.clone(), name.clone())) {
                continue;
            }
            let here = fetcher.is_at_hand(&source);
            if !here {
                network += source.size.unwrap_or(0);
                unknown += usize::from(source.size.is_none());
            }
            let size = source.size.map_or_else(|| "size unknown".to_owned(), bytes);
            let place = if here { "a copy is at hand".to_owned() } else { format!("from {}", source.host()) };
            lines.push(format!("  {}  {name}  {size}, {place}", action.name));
        }
    }
    if lines.is_empty() {
        return;
    }
    let unknown = if unknown > 0 { format!(", and {unknown} file(s) of unknown size") } else { String::new() };
    let _ = writeln!(out, "\nto fetch: {} over the network{unknown}", bytes(network));
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

/// Memory of the actions that would run, and whether there is as much as that. The pair is what may be used, and the whole machine
/// in words.
fn memory(
    assessed: &Assessed,
    args: &PlanArgs,
    profiles: &[String],
    (machine, whole): (&Machine, &str),
    out: &mut String,
) {
    let mut groups: BTreeMap<(&str, String), (&Footprint, Vec<&str>)> = BTreeMap::new();
    for (i, footprint) in assessed.known() {
        let action = &assessed.plan.actions[i];
        let group = groups.entry((&action.stage, format!("{footprint:?}"))).or_insert((footprint, Vec::new()));
        group.1.push(&action.name);
    }
    if !groups.is_empty() {
        let _ = writeln!(out, "\nmemory at the worst moment:");
    }
    for (footprint, actions) in groups.values() {
        let more = if actions.len() > 1 { format!(" and {} more", actions.len() - 1) } else { String::new() };
        let bound = if footprint.exact { "" } else { " at most" };
        let total = bytes(footprint.total());
        let _ = writeln!(out, "  {}{more}: {total}{bound} on {}", actions[0], footprint.device.name());
        let parts: Vec<_> = footprint.parts.iter().map(|(what, n)| format!("{what} {}", bytes(*n))).collect();
        let _ = writeln!(out, "      {}", parts.join(", "));
    }
    let diagnostics = assessed.diagnostics(machine);
    if !groups.is_empty() {
        let _ = writeln!(out, "this machine: {whole}");
    }
    for diagnostic in &diagnostics {
        let _ = writeln!(out, "  can't run: {diagnostic}");
    }
    if !diagnostics.is_empty()
        && let Some(name) = nearest_profile(&args.pipeline, assessed.plan, profiles, machine, assessed.store)
    {
        let _ = writeln!(out, "  the nearest profile that fits: {name}");
    }
    if !groups.is_empty() {
        out.push('\n');
    }
}
