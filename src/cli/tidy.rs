//! `emopipe clean`, `emopipe gc` and `emopipe du`: what takes space, and how to get it back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    CommandResult, Failure,
    args::{CleanArgs, DuArgs, GcArgs, PipelineArgs},
    load, print, store_folder,
    view::bytes,
};
use crate::{
    base::{digest::Digest, error::Result},
    engine::{
        history,
        plan::{Forecast, Plan},
    },
    store::{Garbage, Retention, Store},
};

pub fn clean(args: &CleanArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let folder = store_folder(&args.pipeline, &plan);
    if !folder.exists() {
        print("0 results forgotten: there is no store yet\n");
        return Ok(());
    }
    let store = Store::open_existing(&folder)?;
    let mut targets: HashSet<usize> = HashSet::new();
    for target in &args.targets {
        targets.extend(plan.matching(target)?);
    }
    let mut forgotten = 0;
    for (i, forecast) in plan.forecast(&store, &HashSet::new()).iter().enumerate() {
        if let Forecast::Cached { key, .. } = forecast
            && (args.targets.is_empty() || targets.contains(&i))
        {
            store.forget(key)?;
            forgotten += 1;
        }
    }
    print(&format!("{forgotten} results forgotten; `emopipe gc` frees their space\n"));
    Ok(())
}

pub fn gc(args: &GcArgs) -> CommandResult {
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
            folder = Some(store_folder(&pipeline, &plan));
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

/// One line of `du`.
#[derive(Default)]
struct Usage {
    results: usize,
    blobs: HashMap<Digest, u64>,
}

pub fn du(args: &DuArgs) -> CommandResult {
    let folder = args.store.clone().unwrap_or_else(|| PathBuf::from("cache"));
    let store = Store::open_existing_to_read(&folder)?;
    let mut stages: BTreeMap<String, Usage> = BTreeMap::new();
    let mut all = HashMap::new();
    for (_, known) in store.results() {
        let usage = stages.entry(history::stage(&known.action).to_owned()).or_default();
        usage.results += 1;
        for file in known.results.iter().flat_map(|o| &o.files) {
            usage.blobs.insert(file.digest, file.size);
            all.insert(file.digest, file.size);
        }
    }
    let mut out = String::new();
    let mut rows: Vec<(String, usize, u64)> = stages
        .into_iter()
        .map(|(stage, u)| (stage, u.results, u.blobs.values().copied().fold(0, u64::saturating_add)))
        .collect();
    rows.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    for (stage, results, size) in rows {
        let _ = writeln!(out, "{:>10}  {results:>6} results  {stage}", bytes(size));
    }
    let needed = all.values().copied().fold(0, u64::saturating_add);
    let blobs = store.size_of("blobs");
    for (size, what) in [
        (needed, "all results (files that several share count once)"),
        (blobs.saturating_sub(needed), "blobs that no result needs"),
        (store.size_of("work"), "work of unfinished actions: checkpoints, partial downloads"),
        (store.size_of("tmp"), "staging"),
        (store.size_of("memos"), "memos of runs that found everything"),
        (store.size_of("actions"), "descriptions"),
        (store.size_of("runs"), "journals and logs"),
    ] {
        let _ = writeln!(out, "{:>10}  {what}", bytes(size));
    }
    print(&out);
    Ok(())
}
