//! What a run that found everything saw, and whether it is still so.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::program_identity::Program;
use crate::{
    base::{digest::Digest, error::Result, machine::Resources, observations::Observations},
    engine::{plan::Plan, scheduler::Summary},
    store::{FileEntry, Lease, Store, manifest},
};

/// What a run saw besides its command line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memo {
    program: Program,
    machine: Resources,
    observed: Observations,
    index: Digest,
    pub(super) pipeline: String,
    pub(super) profile: Option<String>,
    /// The folder that exports are relative to.
    root: PathBuf,
    pub(super) exports: Vec<Export>,
    /// Digest of what says which files are emopipe's, by folder.
    manifests: BTreeMap<String, Option<Digest>>,
    /// Selected actions, all of which have a result.
    pub(super) results: usize,
    /// The run whose journal names each of them.
    pub(super) run: String,
    /// How good the results are, for people.
    scores: Vec<String>,
    #[serde(skip)]
    pub(super) blobs: Vec<(Digest, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Export {
    pub(super) action: String,
    pub(super) folder: String,
    files: Vec<FileEntry>,
}

impl Memo {
    /// What a run saw, with the last words on how good its results are; none where that isn't all there is to say of it.
    ///
    /// # Errors
    /// Where the index can't be read.
    pub(super) fn of(
        plan: &Plan,
        store: &Store,
        machine: Resources,
        summary: &Summary,
        scores: Vec<String>,
    ) -> Result<Option<Self>> {
        let (Some(keys), Some(observed), Some(program)) =
            (&summary.found, plan.spec.tracked_fs.observed(), Program::this())
        else {
            return Ok(None);
        };
        let Some(index) = store.index_as_opened()? else { return Ok(None) };
        let (mut blobs, mut exports, mut manifests) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (action, key) in plan.actions.iter().zip(keys) {
            let known = store.known(key).map(|known| known.results).unwrap_or_default();
            // Of several results the user hears at every run.
            let [result] = &known[..] else { return Ok(None) };
            blobs.extend(result.files.iter().map(|f| (f.digest, f.size)));
            if let Some(folder) = &action.export {
                let (action, folder) = (action.name.clone(), folder.clone());
                let manifest = || manifest_in(&plan.spec.pipeline.root, &folder);
                manifests.entry(folder.clone()).or_insert_with(manifest);
                exports.push(Export { action, folder, files: result.files.clone() });
            }
        }
        blobs.sort_unstable();
        blobs.dedup();
        Ok(Some(Self {
            program,
            machine,
            observed,
            index,
            pipeline: plan.spec.pipeline.name.clone(),
            profile: plan.spec.profile.clone(),
            root: plan.spec.pipeline.root.clone(),
            exports,
            manifests,
            results: summary.reused,
            run: summary.run.clone(),
            scores,
            blobs,
        }))
    }

    /// Whether a run would see the same. What changes most often is asked first.
    pub(super) fn holds(&self, store: &Lease, machine: Resources) -> bool {
        Program::this().is_some_and(|program| program == self.program)
            && machine == self.machine
            && self.observed.still_holds()
            && store.has_index(&self.index)
            && store.has_no_pending_push()
            && self.manifests.iter().all(|(folder, digest)| manifest_in(&self.root, folder) == *digest)
            && self.exports.iter().all(|export| export.is_in_place(store, &self.root))
            && store.holds_all(&self.blobs)
    }

    /// How good the results are, a line each.
    pub fn scores(&self) -> &[String] {
        &self.scores
    }
}

impl Export {
    /// Whether the blobs and the files in the project have the bytes that they should.
    fn is_in_place(&self, store: &Lease, root: &Path) -> bool {
        let is = |path: &Path, file: &FileEntry| {
            fs::metadata(path).is_ok_and(|m| m.len() == file.size)
                && Digest::of_file(path).is_ok_and(|found| found == file.digest)
        };
        self.files
            .iter()
            .all(|file| is(&store.blob(&file.digest), file) && is(&root.join(&self.folder).join(&file.name), file))
    }
}

/// The digest of the manifest in a folder of exports, if there is one.
fn manifest_in(root: &Path, folder: &str) -> Option<Digest> {
    Digest::of_file(&root.join(folder).join(manifest::FILE)).ok()
}
