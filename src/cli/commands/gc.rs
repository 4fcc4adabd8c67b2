//! `emopipe gc`: removes from the store what nobody needs.

use std::{
    collections::HashSet,
    fmt::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;

use crate::{
    base::{digest::Digest, error::Result, units::bytes},
    cli::{
        cli_command::CliCommand,
        command_result::{CommandResult, Failure},
        load_plan::load,
        pipeline_args::PipelineArgs,
        terminal::print,
        value_parsers::size,
    },
    engine::{
        history,
        plan::{Forecast, Plan},
    },
    store::{Garbage, Retention, Store},
};

/// Remove files from the store that no result (or none of the given pipelines) needs.
#[derive(Args)]
pub struct GcArgs {
    /// Pipelines whose current results stay. Without a limit of age or size, nothing else does; without pipelines either,
    /// every result stays.
    pub pipelines: Vec<PathBuf>,
    /// Results that no run has used for this long go, such as `30d` or `12h`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<u64>,
    /// The least recently used results go until the rest takes no more than this, such as `20 GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Profiles of those pipelines that count [default: each file's own default].
    #[arg(short, long)]
    pub profile: Vec<String>,
    /// Folder of the store [default: `cache` in the first pipeline's root, or here].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder with the files that can't be downloaded [default: `data` in each pipeline's root].
    #[arg(long, env = "EMOPIPE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Only list what would go.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

impl CliCommand for GcArgs {
    const NAME: &'static str = "gc";

    fn execute(&self) -> CommandResult {
        gc(self)
    }
}

/// Milliseconds.
fn age(text: &str) -> Result<u64, String> {
    let expected = || "expected an age such as `30d`, `12h` or `90m`".to_owned();
    let text = text.trim();
    let unit = text.chars().last().ok_or_else(expected)?;
    let minutes: u64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(expected()),
    };
    let count: u64 = text[..text.len() - 1].trim().parse().map_err(|_| expected())?;
    count.checked_mul(minutes * 60_000).ok_or_else(expected)
}

fn gc(args: &GcArgs) -> CommandResult {
    let (plans, folder) = plans(args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let collect = |store: &Store| -> Result<Garbage> {
        store.garbage(&Retention {
            keep: (!plans.is_empty()).then(|| kept(&plans, store)),
            unused_since: args.older_than.map(|age| now.saturating_sub(age)),
            max_size: args.max_size,
            last_used: history::last_used(store)?,
            now,
        })
    };
    if args.dry_run {
        let garbage = collect(&Store::open_existing_to_read(&folder)?)?;
        print(&list(&garbage, now));
        return Ok(());
    }
    let store = Store::open_alone(&folder)?;
    let garbage = collect(&store)?;
    let swept = store.sweep(&garbage)?;
    print(&format!("removed {} results and {} blobs, {} freed\n", swept.results, swept.blobs, bytes(swept.freed)));
    Ok(())
}

/// The pipelines whose results stay, and the store's folder.
fn plans(args: &GcArgs) -> Result<(Vec<Plan>, PathBuf), Failure> {
    let profiles: Vec<Option<String>> =
        if args.profile.is_empty() { vec![None] } else { args.profile.iter().cloned().map(Some).collect() };
    let mut plans = Vec::new();
    let mut folder = args.store.clone();
    for pipeline in &args.pipelines {
        for profile in &profiles {
            let pipeline = PipelineArgs {
                pipeline: pipeline.clone(),
                profile: profile.clone(),
                set: Vec::new(),
                store: folder.clone(),
                data: args.data.clone(),
                mirror: None,
            };
            let plan = load(&pipeline)?;
            folder = Some(pipeline.store_folder(&plan.spec.pipeline.root));
            plans.push(plan);
        }
    }
    Ok((plans, folder.unwrap_or_else(|| PathBuf::from("cache"))))
}

/// What the plans reach. Asked of the store that is collected, so that what a run has just published counts.
fn kept(plans: &[Plan], store: &Store) -> HashSet<Digest> {
    let forecasts = plans.iter().flat_map(|plan| plan.forecast(store, &HashSet::new()));
    let keys = forecasts.filter_map(|forecast| match forecast {
        Forecast::Cached { key, .. } => Some(key),
        Forecast::Run { .. } => None,
    });
    keys.collect()
}

fn list(garbage: &Garbage, now: u64) -> String {
    let mut out = String::new();
    for result in &garbage.results {
        let days = now.saturating_sub(result.last_used) / (24 * 3600 * 1000);
        let _ = writeln!(
            out,
            "{:>10}  result {}  {}  last used {days} d ago",
            bytes(result.size),
            result.key.short(),
            result.action
        );
    }
    for (path, size) in garbage.blobs.iter().chain(&garbage.leftovers) {
        let _ = writeln!(out, "{:>10}  {}", bytes(*size), path.display());
    }
    let _ = writeln!(out, "{} results and {} would go", garbage.results.len(), bytes(garbage.size()));
    out
}
