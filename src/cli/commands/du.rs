//! `emopipe du`: what takes space in the store.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::PathBuf,
};

use clap::Args;

use crate::{
    base::{digest::Digest, units::bytes},
    cli::{cli_command::CliCommand, command_result::CommandResult, terminal::print},
    engine::history,
    store::Store,
};

/// Show what takes space in the store.
#[derive(Args)]
pub struct DuArgs {
    /// Folder of the store [default: `cache`].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl CliCommand for DuArgs {
    const NAME: &'static str = "du";

    fn execute(&self) -> CommandResult {
        du(self)
    }
}

/// One line of `du`.
#[derive(Default)]
struct Usage {
    results: usize,
    blobs: HashMap<Digest, u64>,
}

fn du(args: &DuArgs) -> CommandResult {
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
