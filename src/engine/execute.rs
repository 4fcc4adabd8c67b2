//! Runs one action and publishes its result. The same code serves the scheduler's own threads and worker processes.

use std::{fs, path::Path};

use super::{
    Context, Progress, StageKind,
    approximate_match::agree,
    worker_request::{Purpose, WorkerRequest},
};
use crate::{
    base::error::{Error, IoAt, Result},
    store::{ActionResult, Store},
};

/// Computes the action unless another process has just done so. Of two different results of one description both are kept;
/// the one that was published first is returned.
///
/// # Errors
/// What the kind's `run` says. Where an input has rotted, its blob is removed, so that its maker is a miss.
pub fn execute(
    request: &WorkerRequest,
    kind: &dyn StageKind,
    store: &Store,
    progress: &dyn Progress,
) -> Result<ActionResult> {
    let lock = store.lock(&request.key, || progress.message("waiting for another run that computes the same"))?;
    store.refresh()?;
    if request.purpose == Purpose::Missing
        && let Some(result) = store.lookup(&request.key)
    {
        return Ok(result);
    }
    verify_inputs(request, store)?;
    let staging = store.staging()?;
    // As few folders as can be: some filesystems take long to make one where many were removed a moment ago.
    let (out, work) = match request.purpose {
        Purpose::Missing | Purpose::Forced => (staging.path().to_owned(), store.work(&request.key, lock.is_some())),
        Purpose::Check => {
            let out = staging.path().join("out");
            fs::create_dir(&out).io_at("create", &out)?;
            (out, staging.path().join("work"))
        }
    };
    kind.run(&Context { job: &request.job, out: &out, work: &work, progress })?;
    let first = store.lookup(&request.key);
    if let (Purpose::Check, Some(first)) = (request.purpose, first)
        && repeats(&first, &out, request.tolerance, store)?
    {
        return Ok(first);
    }
    let record = serde_json::json!({
        "action": request.job.action,
        "preimage": request.preimage,
        "unkeyed": request.job.unkeyed,
        "previous": request.previous,
        "reasons": request.reasons,
        "run": request.run,
        "makers": request.makers,
    });
    let result = store.publish(request.key, &request.identity, &out, &record)?;
    if result.files.is_empty() {
        return Err(Error::internal(format!("{} wrote no file", request.job.action)));
    }
    // The result is published; what is left of the attempt is garbage that the next collection would find too.
    let _ = fs::remove_dir_all(&work);
    if request.purpose == Purpose::Check {
        return Ok(result);
    }
    let used = store.lookup(&request.key).unwrap_or_else(|| result.clone());
    if used.artifact != result.artifact {
        progress.message(&format!(
            "not deterministic: it gave {} now and {} before; both are kept, and the earlier one stays in use",
            result.artifact.short(),
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
fn verify_inputs(request: &WorkerRequest, store: &Store) -> Result<()> {
    let damaged = store.damaged(&request.unverified);
    for digest in &damaged {
        store.drop_blob(digest)?;
    }
    match damaged.first() {
        None => Ok(()),
        Some(first) => Err(Error::environment(format!(
            "{} file(s) among the inputs of {} have rotted in the store, the first is {}",
            damaged.len(),
            request.job.action,
            first.short()
        ))
        .help("they were dropped; run again, and what made them is computed anew")),
    }
}
