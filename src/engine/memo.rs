//! What a run that found every result saw, so that the next one can tell at a glance that it would find them, too.
//!
//! Whether a run has anything to do follows from: the command line, the program, the machine, the files that planning read,
//! the index, the sizes of the blobs, and the files that were exported. A memo has all of these, by content wherever the run
//! itself goes by content. If each is what it was, the outcome is what it was; if one isn't, the memo says nothing and the run
//! takes the long way. Nothing is believed that the long way would check: rotten index lines change the index's digest, and
//! blobs are looked at as a lookup looks at them.
//!
//! A memo is a checksum, one line of JSON, and the digest and size of each blob as 40 bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    journal::{Entry, Event, Journal, Observer},
    plan::Plan,
    scheduler::{RemoteSummary, Summary, run_name},
};
use crate::base::machine::Resources;
use crate::{
    base::{
        digest::Digest,
        error::{IoAt, Result},
        tracked_fs::Observations,
    },
    store::{FileEntry, Lease, Store, manifest},
};

/// The parts of a command line on which it depends what a run finds.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// The working directory: all other paths may be relative to it.
    pub folder: PathBuf,
    pub pipeline: PathBuf,
    pub profile: Option<String>,
    pub set: Vec<(String, String)>,
    pub store: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub mirror: Option<PathBuf>,
    /// Where the user's settings would be.
    pub settings: Option<PathBuf>,
    pub only: Vec<String>,
    pub until: Vec<String>,
    pub offline: bool,
    pub locked: bool,
}

/// Everything else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memo {
    program: Program,
    machine: Resources,
    observed: Observations,
    index: Digest,
    pipeline: String,
    profile: Option<String>,
    /// The folder that exports are relative to.
    root: PathBuf,
    exports: Vec<Export>,
    /// Digest of what says which files are emopipe's, by folder.
    manifests: BTreeMap<String, Option<Digest>>,
    /// Selected actions, all of which have a result.
    results: usize,
    /// The run whose journal names each of them.
    run: String,
    /// How good the results are, for people.
    scores: Vec<String>,
    #[serde(skip)]
    blobs: Vec<(Digest, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Export {
    action: String,
    folder: String,
    files: Vec<FileEntry>,
}

/// Which program it is: another one may describe actions otherwise. Its own file can't be rewritten while it runs, so that
/// times will do here.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Program {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Program {
    fn this() -> Option<Self> {
        let path = std::env::current_exe().ok()?;
        let m = fs::metadata(&path).ok()?;
        Some(Self {
            path,
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }
}

impl Question {
    fn id(&self) -> Option<Digest> {
        // A path that isn't UTF-8 has no memo.
        Some(Digest::of(&serde_json::to_vec(self).ok()?))
    }

    /// The folders in which the store may be: which one it is, the pipeline's files say, and they aren't read yet.
    fn stores(&self) -> Vec<PathBuf> {
        match &self.store {
            Some(store) => vec![self.folder.join(store)],
            None => self.folder.join(&self.pipeline).ancestors().skip(1).map(|folder| folder.join("cache")).collect(),
        }
    }
}

/// The memo of this question, if all that it says is still so; and its store, entered.
pub fn recall(question: &Question, machine: Resources) -> Option<(Lease, Memo)> {
    let id = question.id()?;
    question.stores().into_iter().find_map(|root| {
        let memo = Memo::decode(&fs::read(Lease::memo_in(&root, &id)).ok()?)?;
        // Entered before anything is looked at, so that nobody cleans the store meanwhile.
        let store = Lease::new(&root).ok()?;
        memo.holds(&store, machine).then_some((store, memo))
    })
}

/// Leaves a memo of a run that found everything; none where that isn't all there is to say of it.
/// `scores` are the last words on how good the results are.
pub fn remember(
    question: &Question,
    plan: &Plan,
    store: &Store,
    machine: Resources,
    summary: &Summary,
    scores: Vec<String>,
) -> Result<()> {
    let (Some(id), Some(memo)) = (question.id(), Memo::of(plan, store, machine, summary)?) else { return Ok(()) };
    let memo = Memo { scores, ..memo };
    store.write_memo(&id, &memo.encode()?)
}

impl Memo {
    fn of(plan: &Plan, store: &Store, machine: Resources, summary: &Summary) -> Result<Option<Self>> {
        let (Some(keys), Some(observed), Some(program)) =
            (&summary.found, plan.spec.tracked_fs.observed(), Program::this())
        else {
            return Ok(None);
        };
        let Some(index) = store.index_as_opened()? else { return Ok(None) };
        let (mut blobs, mut exports, mut manifests) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (action, key) in plan.actions.iter().zip(keys) {
            let known = store.known(key).map(|known| known.results).unwrap_or_default();
            // Of several outcomes the user hears at every run.
            let [outcome] = &known[..] else { return Ok(None) };
            blobs.extend(outcome.files.iter().map(|f| (f.digest, f.size)));
            if let Some(folder) = &action.export {
                let (action, folder) = (action.name.clone(), folder.clone());
                let manifest = || manifest_in(&plan.spec.pipeline.root, &folder);
                manifests.entry(folder.clone()).or_insert_with(manifest);
                exports.push(Export { action, folder, files: outcome.files.clone() });
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
            scores: Vec::new(),
            blobs,
        }))
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut body = serde_json::to_vec(self)?;
        body.push(b'\n');
        for (digest, size) in &self.blobs {
            body.extend_from_slice(digest.as_bytes());
            body.extend_from_slice(&size.to_le_bytes());
        }
        Ok([Digest::of(&body).as_bytes(), &body[..]].concat())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, body) = bytes.split_first_chunk::<32>()?;
        if Digest::of(body).as_bytes() != sum {
            return None;
        }
        let end = body.iter().position(|b| *b == b'\n')?;
        let mut memo: Self = serde_json::from_slice(&body[..end]).ok()?;
        let blob = |bytes: &[u8; 40]| -> Option<(Digest, u64)> {
            let (digest, size) = bytes.split_first_chunk::<32>()?;
            Some((Digest::from_bytes(*digest), u64::from_le_bytes(size.try_into().ok()?)))
        };
        memo.blobs = body[end + 1..].as_chunks().0.iter().map(blob).collect::<Option<_>>()?;
        Some(memo)
    }

    /// Whether a run would see the same. What changes most often is asked first.
    fn holds(&self, store: &Lease, machine: Resources) -> bool {
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

    /// Writes the journal of a run that found everything.
    pub fn replay(&self, store: &Lease, started: Instant, observer: &mut dyn Observer) -> Result<Summary> {
        // That journal stays in the store at least as long as this one: collections go by when files changed.
        let journal = store.run_folder(&self.run)?.join("journal.jsonl");
        File::options()
            .append(true)
            .open(&journal)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .io_at("mark as used", &journal)?;
        let run = run_name();
        let mut journal = Journal::create(&store.run_folder(&run)?.join("journal.jsonl"))?;
        let mut emit = |event| {
            let entry = Entry::now(event);
            journal.write(&entry);
            observer.observe(&entry);
        };
        emit(Event::RunStarted {
            run: run.clone(),
            pipeline: self.pipeline.clone(),
            profile: self.profile.clone(),
            actions: self.results,
            emopipe: env!("CARGO_PKG_VERSION").to_owned(),
        });
        emit(Event::Unchanged { since: self.run.clone(), results: self.results });
        for Export { action, folder, .. } in &self.exports {
            emit(Event::Exported { action: action.clone(), folder: folder.clone(), written: 0 });
        }
        let elapsed = started.elapsed();
        emit(Event::RunFinished {
            ran: 0,
            reused: self.results,
            failed: 0,
            skipped: 0,
            seconds: elapsed.as_secs_f64(),
            interrupted: false,
        });
        Ok(Summary {
            run,
            ran: 0,
            reused: self.results,
            failed: Vec::new(),
            skipped: 0,
            differing: Vec::new(),
            interrupted: false,
            elapsed,
            remote: RemoteSummary::default(),
            found: None,
        })
    }
}

/// The digest of the manifest in a folder of exports, if there is one.
fn manifest_in(root: &Path, folder: &str) -> Option<Digest> {
    Digest::of_file(&root.join(folder).join(manifest::FILE)).ok()
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
