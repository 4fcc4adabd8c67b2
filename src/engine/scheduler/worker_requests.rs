//! Puts together what an executor needs to know of an action.

use std::collections::{BTreeMap, HashSet};

use super::{run_context::RunContext, state::States};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    engine::{
        Artifact, Job,
        reasons::Reason,
        worker_request::{Purpose, WorkerRequest},
    },
    store::{ActionResult, FileEntry},
};

/// Blobs that this run has made, or has compared with their names.
#[derive(Default)]
pub struct VerifiedBlobs(HashSet<Digest>);

impl VerifiedBlobs {
    pub fn extend<'f>(&mut self, files: impl IntoIterator<Item = &'f FileEntry>) {
        self.0.extend(files.into_iter().map(|file| file.digest));
    }
}

/// The request for action `i` with so many threads. Files of inputs that aren't `verified` are to be.
///
/// # Errors
/// If an input isn't known, or has vanished from the store.
pub fn worker_request(
    cx: &RunContext,
    states: &States,
    verified: &VerifiedBlobs,
    i: usize,
    threads: usize,
) -> Result<WorkerRequest> {
    let action = cx.action(i);
    let preimage =
        states.preimage(i).ok_or_else(|| Error::internal(format!("{} started before its inputs", action.name)))?;
    let mut inputs: BTreeMap<String, Vec<Artifact>> = BTreeMap::new();
    let mut unverified = Vec::new();
    for (role, sources) in &action.inputs {
        let artifacts = inputs.entry(role.clone()).or_default();
        for &source in sources {
            let result = result(cx, states, source)?;
            artifacts.push(Artifact { digest: result.artifact, files: cx.store.paths(&result) });
            unverified.extend(result.files.into_iter().filter(|file| !verified.0.contains(&file.digest)));
        }
    }
    let purpose = match (cx.forced.contains(&i), cx.options.check) {
        (true, true) => Purpose::Check,
        (true, false) => Purpose::Forced,
        (false, _) => Purpose::Missing,
    };
    let reasons = match purpose {
        Purpose::Forced | Purpose::Check => vec![Reason::Forced],
        Purpose::Missing => cx.plan.reasons(i, &preimage, cx.store),
    };
    let identity = cx.plan.identity(i);
    Ok(WorkerRequest {
        job: Job {
            kind: action.kind.name().to_owned(),
            action: action.name.clone(),
            params: action.resolved.params.clone(),
            unkeyed: action.resolved.unkeyed.clone(),
            private: action.resolved.private.clone(),
            inputs,
            threads,
            memory: action.resolved.resources.memory,
            notes: preimage.notes.clone(),
        },
        key: preimage.key(),
        previous: cx.store.latest_key(&identity),
        identity,
        preimage,
        reasons,
        run: cx.run.clone(),
        makers: cx.plan.makers(i),
        store: cx.store.root().to_owned(),
        purpose,
        unverified,
        tolerance: action.resolved.tolerance,
    })
}

fn result(cx: &RunContext, states: &States, i: usize) -> Result<ActionResult> {
    states.key(i).and_then(|key| cx.store.lookup(&key)).ok_or_else(|| {
        Error::environment(format!("the result of {} vanished from the store during the run", cx.action(i).name))
            .help("run again: it will be computed anew")
    })
}
