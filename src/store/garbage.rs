//! Garbage collection: what no kept result refers to.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
};

use super::{
    action_result::{ActionResult, Known},
    open_store::Store,
    stored_files::{blob_files, entries, modified, name, named_by_digest, newest_below, size_below},
};
use crate::base::digest::Digest;
use crate::base::{durable, error::Result, failpoint};

/// Milliseconds after which an interrupted action's checkpoints and partial downloads go, if nothing else is said.
const STALE_WORK: u64 = 30 * 24 * 3600 * 1000;

/// Which results stay. All times are milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Retention {
    /// These stay whatever else holds. Without a limit of age or size, nothing else does.
    pub keep: Option<HashSet<Digest>>,
    /// What was used since then stays.
    pub unused_since: Option<u64>,
    /// Bytes that blobs of results may take; the least recently used results go first.
    pub max_size: Option<u64>,
    /// When each result was last used by a run.
    pub last_used: HashMap<Digest, u64>,
    pub now: u64,
}

/// A result that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    pub key: Digest,
    pub action: String,
    /// Bytes of its files, also of those that other results share.
    pub size: u64,
    /// Milliseconds since 1970.
    pub last_used: u64,
}

/// What may go.
#[derive(Debug, Default)]
pub struct Garbage {
    pub results: Vec<Collected>,
    pub blobs: Vec<(PathBuf, u64)>,
    /// Staging folders, lock files, memos, work folders and journals that nothing will ask for again.
    pub leftovers: Vec<(PathBuf, u64)>,
}

impl Garbage {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.blobs.iter().chain(&self.leftovers).map(|(_, size)| *size).fold(0, u64::saturating_add)
    }
}

/// What a collection removed.
#[derive(Debug, PartialEq, Eq)]
pub struct Swept {
    pub results: usize,
    pub blobs: usize,
    /// Bytes.
    pub freed: u64,
}

impl Store {
    /// What could go.
    ///
    /// # Errors
    /// Where a folder of the store can't be listed.
    pub fn garbage(&self, retention: &Retention) -> Result<Garbage> {
        let all = self.results();
        let gone = self.unwanted(&all, retention);
        let needed: HashSet<Digest> = all
            .iter()
            .filter(|(key, _)| !gone.contains(key))
            .flat_map(|(_, known)| blobs_of(known))
            .map(|(digest, _)| digest)
            .collect();
        let mut garbage = Garbage::default();
        for (key, known) in all.iter().filter(|(key, _)| gone.contains(key)) {
            garbage.results.push(Collected {
                key: *key,
                action: known.action.clone(),
                size: known.results.iter().map(ActionResult::size).fold(0, u64::saturating_add),
                last_used: self.last_used(key, retention),
            });
        }
        for (digest, path, size) in blob_files(&self.root)? {
            if !needed.contains(&digest) {
                garbage.blobs.push((path, size));
            }
        }
        self.leftovers(retention, &mut garbage)?;
        Ok(garbage)
    }

    /// Removes garbage. The store must be open for this process alone. Files go first: on a full disk that makes room for
    /// the rest, and a result without its files is a miss.
    ///
    /// # Errors
    /// Where something can't be removed, or the index can't be written anew. What went before that stays removed.
    pub fn sweep(&self, garbage: &Garbage) -> Result<Swept> {
        for (path, _) in garbage.blobs.iter().chain(&garbage.leftovers) {
            durable::remove(path)?;
            failpoint::at("gc");
        }
        for result in &garbage.results {
            // A record without a result is never read, and the next collection finds it.
            let _ = fs::remove_file(self.preimage_path(&result.key));
        }
        failpoint::at("gc-index");
        self.index().compact(garbage.results.iter().map(|r| r.key))?;
        Ok(Swept { results: garbage.results.len(), blobs: garbage.blobs.len(), freed: garbage.size() })
    }

    fn unwanted(&self, all: &[(Digest, Known)], retention: &Retention) -> HashSet<Digest> {
        let limited = retention.unused_since.is_some() || retention.max_size.is_some();
        let mut candidates: Vec<&(Digest, Known)> = all
            .iter()
            .filter(|(key, _)| match &retention.keep {
                Some(keep) => !keep.contains(key),
                None => limited,
            })
            .collect();
        if !limited {
            return candidates.into_iter().map(|(key, _)| *key).collect();
        }
        // Of results that one run used, those that were made last go first: without its inputs a result can't be found.
        candidates.sort_by_cached_key(|(key, known)| (self.last_used(key, retention), Reverse(known.order)));
        let mut gone = HashSet::new();
        if let Some(since) = retention.unused_since {
            gone.extend(candidates.iter().map(|(key, _)| *key).filter(|key| self.last_used(key, retention) < since));
        }
        if let Some(most) = retention.max_size {
            let mut users: HashMap<Digest, (u64, usize)> = HashMap::new();
            for (digest, size) in all.iter().filter(|(k, _)| !gone.contains(k)).flat_map(|(_, known)| blobs_of(known)) {
                users.entry(digest).or_insert((size, 0)).1 += 1;
            }
            let mut total = users.values().map(|(size, _)| *size).fold(0, u64::saturating_add);
            for (key, known) in candidates {
                if total <= most {
                    break;
                }
                if gone.insert(*key) {
                    for (digest, size) in blobs_of(known) {
                        if let Some((_, count)) = users.get_mut(&digest) {
                            *count -= 1;
                            total = total.saturating_sub(if *count == 0 { size } else { 0 });
                        }
                    }
                }
            }
        }
        gone
    }

    /// When a run last used the result, else when it was published.
    fn last_used(&self, key: &Digest, retention: &Retention) -> u64 {
        retention.last_used.get(key).copied().unwrap_or_else(|| modified(&self.preimage_path(key)))
    }

    /// Whatever isn't called as we call things isn't ours to judge.
    fn leftovers(&self, retention: &Retention, garbage: &mut Garbage) -> Result<()> {
        let mut add = |path: PathBuf| garbage.leftovers.push((path.clone(), size_below(&path)));
        let below = |folder: &str, ours: fn(&str) -> bool| -> Result<Vec<PathBuf>> {
            Ok(entries(&self.root.join(folder))?.into_iter().filter(|path| ours(&name(path))).collect())
        };
        below("tmp", |name| name.starts_with(".tmp"))?.into_iter().for_each(&mut add);
        for folder in ["locks", "memos"] {
            below(folder, is_key)?.into_iter().for_each(&mut add);
        }
        let stale = retention.unused_since.unwrap_or(retention.now.saturating_sub(STALE_WORK));
        for path in below("work", |name| is_key(name.split('.').next().unwrap_or_default()))? {
            // What an unfinished action keeps may be days of training.
            let finished =
                name(&path).get(..64).and_then(|k| k.parse().ok()).is_some_and(|k| self.lookup(&k).is_some());
            if finished || newest_below(&path) < stale {
                add(path);
            }
        }
        if let Some(since) = retention.unused_since {
            let runs = below("runs", |name| name.starts_with(|c: char| c.is_ascii_digit()))?;
            runs.into_iter().filter(|run| newest_below(run) < since).for_each(&mut add);
        }
        for folder in ["", "memos", "actions", "exports"] {
            durable::leftovers(&self.root.join(folder)).into_iter().for_each(&mut add);
        }
        self.orphaned_descriptions()?.into_iter().for_each(&mut add);
        Ok(())
    }

    /// Descriptions of keys whose results never came, or were collected by somebody who was killed. Those stay against which
    /// the next change of an action is explained.
    fn orphaned_descriptions(&self) -> Result<Vec<PathBuf>> {
        let latest: HashSet<Digest> = self.index().latest_keys().collect();
        let all = named_by_digest(&self.root.join("actions"), ".json")?.into_iter();
        Ok(all.filter(|(key, _)| !latest.contains(key) && self.known(key).is_none()).map(|(_, path)| path).collect())
    }
}

fn is_key(name: &str) -> bool {
    name.len() == 64 && name.parse::<Digest>().is_ok()
}

/// The different blobs of a key's results, with their sizes.
fn blobs_of(known: &Known) -> HashMap<Digest, u64> {
    known.results.iter().flat_map(|o| &o.files).map(|f| (f.digest, f.size)).collect()
}
