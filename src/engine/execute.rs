//! Runs one action and publishes its result. The same code serves the scheduler's own threads and worker processes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Context, Job, Progress, StageKind, agree::agree, key::Preimage, reasons::Reason};
use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    store::{ActionResult, FileEntry, Store},
};

/// Everything needed to run an action anywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub job: Job,
    pub key: Digest,
    /// The name under which the store remembers the action.
    pub identity: String,
    pub preimage: Preimage,
    pub reasons: Vec<Reason>,
    /// Key that the action stood for before.
    pub previous: Option<Digest>,
    pub run: String,
    /// Names of the actions that made the inputs, by role, in the order of the job's artifacts.
    #[serde(default)]
    pub makers: BTreeMap<String, Vec<String>>,
    pub store: PathBuf,
    pub purpose: Purpose,
    /// Files of the inputs whose bytes nobody has compared with their names in this run.
    pub unproved: Vec<FileEntry>,
    /// How far numbers may differ from the known result, for a check.
    pub tolerance: Option<f64>,
}

/// Why an action is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// There is no result, as far as the scheduler knows.
    Missing,
    /// The user wants it done again.
    Forced,
    /// To see whether it gives the same bytes from nothing. Nothing is published if it does.
    Check,
}

/// Computes the action unless another process has just done so. Of two different results of one description both are kept;
/// the one that was published first is returned.
///
/// # Errors
/// What the kind's `run` says. Where an input has rotted, its blob is removed, so that its maker is a miss.
pub fn execute(order: &Order, kind: &dyn StageKind, store: &Store, progress: &dyn Progress) -> Result<ActionResult> {
    let lock = store.lock(&order.key, || progress.message("waiting for another run that computes the same"))?;
    store.refresh()?;
    if order.purpose == Purpose::Missing
        && let Some(outcome) = store.lookup(&order.key)
    {
        return Ok(outcome);
    }
    prove(order, store)?;
    let staging = store.staging()?;
    // As few folders as can be: some filesystems take long to make one where many were removed a moment ago.
    let (out, work) = match order.purpose {
        Purpose::Missing | Purpose::Forced => (staging.path().to_owned(), store.work(&order.key, lock.is_some())),
        Purpose::Check => {
            let out = staging.path().join("out");
            fs::create_dir(&out).io_at("create", &out)?;
            (out, staging.path().join("work"))
        }
    };
    kind.run(&Context { job: &order.job, out: &out, work: &work, progress })?;
    let first = store.lookup(&order.key);
    if let (Purpose::Check, Some(first)) = (order.purpose, first)
        && repeats(&first, &out, order.tolerance, store)?
    {
        return Ok(first);
    }
    let record = serde_json::json!({
        "action": order.job.action,
        "preimage": order.preimage,
        "unkeyed": order.job.unkeyed,
        "previous": order.previous,
        "reasons": order.reasons,
        "run": order.run,
        "makers": order.makers,
    });
    let outcome = store.publish(order.key, &order.identity, &out, &record)?;
    if outcome.files.is_empty() {
        return Err(Error::internal(format!("{} wrote no file", order.job.action)));
    }
    // The result is published; what is left of the attempt is garbage that the next collection would find too.
    let _ = fs::remove_dir_all(&work);
    if order.purpose == Purpose::Check {
        return Ok(outcome);
    }
    let used = store.lookup(&order.key).unwrap_or_else(|| outcome.clone());
    if used.artifact != outcome.artifact {
        progress.message(&format!(
            "not deterministic: it gave {} now and {} before; both are kept, and the earlier one stays in use",
            outcome.artifact.short(),
            used.artifact.short()
        ));
    }
    Ok(used)
}

/// Whether the files in `out` are those of the known result, within the tolerance.
fn repeats(known: &ActionResult, out: &Path, tolerance: Option<f64>, store: &Store) -> Result<bool> {
    let again = store.listing(out)?;
    if again.artifact == known.artifact {
        return Ok(true);
    }
    let Some(tolerance) = tolerance else { return Ok(false) };
    if known.files.len() != again.files.len() {
        return Ok(false);
    }
    for (old, new) in known.files.iter().zip(&again.files) {
        let (blob, file) = (store.blob(&old.digest), out.join(&new.name));
        let (before, now) = (fs::read(&blob).io_at("read", &blob)?, fs::read(&file).io_at("read", &file)?);
        if old.name != new.name || !agree(&before, &now, tolerance) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares the bytes of inputs with their names before anything is computed from them.
fn prove(order: &Order, store: &Store) -> Result<()> {
    let damaged = store.damaged(&order.unproved);
    for digest in &damaged {
        store.drop_blob(digest)?;
    }
    match damaged.first() {
        None => Ok(()),
        Some(first) => Err(Error::environment(format!(
            "{} file(s) among the inputs of {} have rotted in the store, the first is {}",
            damaged.len(),
            order.job.action,
            first.short()
        ))
        .help("they were dropped; run again, and what made them is computed anew")),
    }
}
