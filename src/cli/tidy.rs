//! `emopipe clean` and `emopipe gc`.

use std::{collections::HashSet, fmt::Write, path::PathBuf};

use super::{
    Outcome,
    args::{CleanArgs, GcArgs, PipelineArgs},
    load, open_store, print, store_folder,
    view::bytes,
};
use crate::{engine::plan::Forecast, store::Store};

pub fn clean(args: &CleanArgs) -> Outcome {
    let plan = load(&args.pipeline)?;
    let store = open_store(&args.pipeline, &plan)?;
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

pub fn gc(args: &GcArgs) -> Outcome {
    let profiles: Vec<Option<String>> =
        if args.profile.is_empty() { vec![None] } else { args.profile.iter().cloned().map(Some).collect() };
    let mut keep = HashSet::new();
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
            let store = open_store(&pipeline, &plan)?;
            keep.extend(plan.forecast(&store, &HashSet::new()).into_iter().filter_map(|f| match f {
                Forecast::Cached { key, .. } => Some(key),
                Forecast::Run { .. } => None,
            }));
        }
    }
    let store = Store::open(&folder.unwrap_or_else(|| PathBuf::from("cache")))?;
    let garbage = store.garbage((!args.pipelines.is_empty()).then_some(&keep))?;
    if args.dry_run {
        let mut out = String::new();
        for (path, size) in garbage.blobs.iter().chain(&garbage.leftovers) {
            let _ = writeln!(out, "{:>10}  {}", bytes(*size), path.display());
        }
        let _ = writeln!(out, "{} results and {} would go", garbage.results.len(), bytes(garbage.size()));
        print(&out);
        return Ok(());
    }
    let swept = store.sweep(&garbage)?;
    print(&format!("removed {} results and {} blobs, {} freed\n", swept.results, swept.blobs, bytes(swept.freed)));
    Ok(())
}
