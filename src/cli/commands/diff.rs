//! `emopipe diff`: two runs side by side, parameters and metrics.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write, fs, path::PathBuf};

use serde_json::Value;

use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    cli::{cli_command::CliCommand, command_result::CommandResult, terminal::print},
    engine::{
        history::Run,
        key::Preimage,
        reasons::{Reason, differences},
    },
    stages,
    store::Store,
};
use clap::Args;

/// Show the parameters and metrics in which two runs differ.
#[derive(Args)]
pub struct DiffArgs {
    /// A run: its name, the beginning of it, `last`, or `last~1` for the one before.
    pub a: String,
    /// Another one.
    pub b: String,
    /// Folder of the store [default: `cache`].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl CliCommand for DiffArgs {
    const NAME: &'static str = "diff";

    fn execute(&self) -> CommandResult {
        diff(self)
    }
}

fn diff(args: &DiffArgs) -> CommandResult {
    let folder = args.store.clone().unwrap_or_else(|| PathBuf::from("cache"));
    if !folder.is_dir() {
        return Err(Error::input(format!("there is no store in {}", folder.display()))
            .help("name it with `--store DIR`")
            .into());
    }
    let store = Store::open_existing_to_read(&folder)?;
    let (a, b) = (Run::find(&store, &args.a)?, Run::find(&store, &args.b)?);
    let mut out = format!("a: {} {}\nb: {} {}\n", a.name, title(&a), b.name, title(&b));
    let names: BTreeSet<&String> = a.results.keys().chain(b.results.keys()).collect();
    let mut same = 0;
    for name in names {
        match (a.results.get(name), b.results.get(name)) {
            (Some(x), Some(y)) if x == y => same += 1,
            (Some(x), Some(y)) => compare(&store, name, *x, *y, &mut out)?,
            (Some(_), None) => drop(writeln!(out, "{name}\n  only in a")),
            (None, _) => drop(writeln!(out, "{name}\n  only in b")),
        }
    }
    let _ = writeln!(out, "{same} actions are the same in both");
    print(&out);
    Ok(())
}

fn title(run: &Run) -> String {
    run.profile.as_ref().map_or_else(|| run.pipeline.clone(), |p| format!("{} ({p})", run.pipeline))
}

type Done = (Digest, Digest);

fn compare(store: &Store, name: &str, a: Done, b: Done, out: &mut String) -> Result<()> {
    let _ = writeln!(out, "{name}");
    match [a, b].map(|(key, _)| store.preimage(&key).as_ref().and_then(Preimage::of_record)) {
        [Some(old), Some(new)] => {
            for reason in differences(&old, &new) {
                let _ = match reason {
                    Reason::Parameter { field, from, to } => {
                        writeln!(out, "  {field:32}  {:>14}  {:>14}", shown(from.as_ref()), shown(to.as_ref()))
                    }
                    other => writeln!(out, "  {other}"),
                };
            }
        }
        _ => drop(writeln!(out, "  a description is no longer in the store")),
    }
    if a.1 == b.1 {
        let _ = writeln!(out, "  the results are the same");
        return Ok(());
    }
    let [old, new] = [metrics(store, a)?, metrics(store, b)?];
    for field in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (x, y) = (old.get(field), new.get(field));
        if x != y {
            let change = x.zip(y).map_or_else(String::new, |(x, y)| format!("  {:+.6}", y - x));
            let [x, y] = [x, y].map(|n| n.map_or_else(|| "-".to_owned(), |n| format!("{n:.6}")));
            let _ = writeln!(out, "  {field:32}  {x:>14}  {y:>14}{change}");
        }
    }
    Ok(())
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// The numbers of the file that the kind calls its metrics, by their path in it. Lists are left out.
fn metrics(store: &Store, (key, artifact): Done) -> Result<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    let kind = store.preimage(&key).as_ref().and_then(Preimage::of_record).map(|p| p.kind);
    let file = stages::REGISTRY.iter().find(|k| Some(k.name()) == kind.as_deref()).and_then(|k| k.metrics());
    let outcome = store.known(&key).and_then(|known| known.results.into_iter().find(|o| o.artifact == artifact));
    let entry = outcome.as_ref().zip(file).and_then(|(o, name)| o.files.iter().find(|f| f.name == name));
    if let Some(entry) = entry {
        let path = store.blob(&entry.digest);
        numbers("", &serde_json::from_slice(&fs::read(&path).io_at("read", &path)?)?, &mut found);
    }
    Ok(found)
}

fn numbers(field: &str, value: &Value, out: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(n) => out.extend(n.as_f64().map(|n| (field.to_owned(), n))),
        Value::Object(map) => {
            for (name, value) in map {
                let path = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                numbers(&path, value, out);
            }
        }
        _ => {}
    }
}
