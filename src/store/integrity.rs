//! Finds what has rotted: reads every blob, every record and every line, and says which results are hit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use serde_json::Value;

use super::{
    folders::SHARD,
    open_store::Store,
    stored_files::{blob_files, entries, name},
};
use crate::base::digest::Digest;
use crate::base::{durable, error::Result};

/// Something that isn't what it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A line of the index; what it said is forgotten. Counted from 1.
    Line(usize),
    /// A blob, and the results that need it: their keys and actions.
    Blob { digest: Digest, problem: String, results: Vec<(Digest, String)> },
    /// Something that isn't a folder where blobs or descriptions belong; it hides them.
    Place { path: PathBuf, problem: String },
    /// The description of a key. The result itself is sound, but can't be explained.
    Record { key: Digest, action: String, problem: String },
}

/// What a look at the whole store found.
#[derive(Debug, Default)]
pub struct Audit {
    pub blobs: usize,
    /// Of all blobs.
    pub bytes: u64,
    pub results: usize,
    pub damage: Vec<Damage>,
}

/// What a repair took out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    pub blobs: usize,
    pub results: usize,
    pub records: usize,
    pub lines: usize,
    /// Things that lay where a folder belongs.
    pub places: usize,
}

impl Store {
    /// Reads everything, on all cores. `describes` says whether a record is the description of a key; `progress` gets the
    /// bytes of blobs read so far and in all, from several threads.
    ///
    /// # Errors
    /// Where the index or a folder of the store can't be read. A file that can't be read is damage.
    pub fn audit(
        &self,
        describes: &(dyn Fn(&Digest, &Value) -> bool + Sync),
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Audit> {
        self.refresh()?;
        let results = self.results();
        let mut users: HashMap<Digest, BTreeSet<(Digest, String)>> = HashMap::new();
        // Size as the index has it; a blob that no result needs has none to compare with.
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        for (key, known) in &results {
            for file in known.results.iter().flat_map(|o| &o.files) {
                users.entry(file.digest).or_default().insert((*key, known.action.clone()));
                blobs.insert(file.digest, file.size);
            }
        }
        let mut audit = Audit { results: results.len(), ..Audit::default() };
        audit.damage.extend(self.index().damaged()?.into_iter().map(Damage::Line));
        audit.damage.extend(self.blocked()?);
        for (digest, _, size) in blob_files(&self.root)? {
            audit.blobs += 1;
            audit.bytes = audit.bytes.saturating_add(size);
            blobs.entry(digest).or_insert(size);
        }
        let total = blobs.values().copied().fold(0, u64::saturating_add);
        let read = AtomicU64::new(0);
        let bad_blobs = blobs.par_iter().filter_map(|(digest, size)| {
            let problem = self.blob_problem(digest, *size);
            progress(read.fetch_add(*size, Ordering::Relaxed).saturating_add(*size), total);
            let results = users.get(digest).into_iter().flatten().cloned().collect();
            problem.map(|problem| Damage::Blob { digest: *digest, problem, results })
        });
        let bad_records = results.par_iter().filter_map(|(key, known)| {
            let problem = self.record_problem(key, describes)?;
            Some(Damage::Record { key: *key, action: known.action.clone(), problem })
        });
        audit.damage.par_extend(bad_blobs);
        audit.damage.par_extend(bad_records);
        audit.damage.sort();
        Ok(audit)
    }

    /// What lies where a folder of blobs or descriptions belongs and isn't one.
    fn blocked(&self) -> Result<Vec<Damage>> {
        let mut found = Vec::new();
        for base in ["blobs", "actions"] {
            for path in entries(&self.root.join(base))? {
                let is_shard = name(&path).len() == SHARD && name(&path).bytes().all(|b| b.is_ascii_hexdigit());
                if is_shard && !path.is_dir() {
                    found.push(Damage::Place { path, problem: "no folder, though one belongs there".to_owned() });
                }
            }
        }
        Ok(found)
    }

    fn record_problem(&self, key: &Digest, describes: &dyn Fn(&Digest, &Value) -> bool) -> Option<String> {
        let path = self.preimage_path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) if path.is_symlink() => return Some("a link that leads nowhere".to_owned()),
            Err(_) if path.is_dir() => return Some("a folder".to_owned()),
            // A repair takes a record out and leaves the result.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
            Err(e) => return Some(format!("unreadable: {e}")),
        };
        match serde_json::from_slice(&bytes) {
            Err(_) if bytes.is_empty() => Some("empty".to_owned()),
            Err(_) => Some("no JSON".to_owned()),
            Ok(record) if !describes(key, &record) => Some("describes something else".to_owned()),
            Ok(_) => None,
        }
    }

    /// Takes out what an audit found: damaged blobs with the results that need them, damaged records and lines. Whatever a
    /// pipeline still needs is then computed again. The store must be open for this process alone.
    ///
    /// # Errors
    /// Where something can't be removed, or the index can't be written anew.
    pub fn repair(&self, audit: &Audit) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        let mut lost = BTreeSet::new();
        for damage in &audit.damage {
            match damage {
                Damage::Line(_) => repaired.lines += 1,
                Damage::Blob { digest, results, .. } => {
                    self.drop_blob(digest)?;
                    repaired.blobs += 1;
                    lost.extend(results.iter().map(|(key, _)| *key));
                }
                Damage::Record { key, .. } => {
                    durable::remove(&self.preimage_path(key))?;
                    repaired.records += 1;
                }
                Damage::Place { path, .. } => {
                    durable::remove(path)?;
                    repaired.places += 1;
                }
            }
        }
        for folder in ["", "memos", "actions", "exports"] {
            durable::sweep(&self.root.join(folder));
        }
        if repaired.records > 0 {
            // A run that finds everything at a glance wouldn't see what is to be written anew.
            entries(&self.root.join("memos"))?.iter().try_for_each(|memo| durable::remove(memo))?;
        }
        repaired.results = lost.len();
        self.index().compact(lost)?;
        Ok(repaired)
    }
}
