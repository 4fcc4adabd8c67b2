//! Runs one action and publishes its result. The same code serves the scheduler's own threads and worker processes.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Context, Job, Progress, StageKind, explain::Reason, key::Preimage};
use crate::{
    error::{Error, IoAt, Result},
    store::{Digest, Outcome, Store},
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
    pub store: PathBuf,
    /// Compute even if there is a result.
    pub force: bool,
}

/// Computes the action unless another process has just done so.
pub fn execute(order: &Order, kind: &dyn StageKind, store: &Store, progress: &dyn Progress) -> Result<Outcome> {
    let _lock = store.lock(&order.key, || progress.message("waiting for another run that computes the same"))?;
    store.refresh()?;
    if !order.force
        && let Some(outcome) = store.lookup(&order.key)
    {
        return Ok(outcome);
    }
    let staging = store.staging()?;
    let out = staging.path().join("out");
    fs::create_dir(&out).io_at("create", &out)?;
    let work = store.work(&order.key)?;
    kind.run(&Context { job: &order.job, out: &out, work: &work, progress })?;
    let record = serde_json::json!({
        "action": order.job.action,
        "preimage": order.preimage,
        "previous": order.previous,
        "reasons": order.reasons,
        "run": order.run,
    });
    let outcome = store.publish(order.key, &order.identity, &out, &record)?;
    if outcome.files.is_empty() {
        return Err(Error::internal(format!("{} wrote no file", order.job.action)));
    }
    // The result is published; what is left of the attempt is garbage that the next collection would find too.
    let _ = fs::remove_dir_all(&work);
    Ok(outcome)
}
