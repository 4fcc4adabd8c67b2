//! Garbage collection: what no kept result refers to.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Digest, Store, open_lock};
use crate::error::{Error, IoAt, Result};

/// Files that may go.
#[derive(Debug, Default)]
pub struct Garbage {
    pub blobs: Vec<(PathBuf, u64)>,
    /// Results that refer to those blobs or are no longer wanted.
    pub results: Vec<Digest>,
    /// Staging and work folders that no process uses.
    pub leftovers: Vec<(PathBuf, u64)>,
}

impl Garbage {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.blobs.iter().chain(&self.leftovers).map(|(_, size)| size).sum()
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
    /// What could go if only the results of `keep` stayed; `None` keeps every result.
    pub fn garbage(&self, keep: Option<&HashSet<Digest>>) -> Result<Garbage> {
        let mut garbage = Garbage::default();
        let mut needed = HashSet::new();
        for (key, outcome) in self.index().iter() {
            if keep.is_none_or(|k| k.contains(key)) {
                needed.extend(outcome.files.iter().map(|f| f.digest));
            } else {
                garbage.results.push(*key);
            }
        }
        garbage.results.sort();
        for shard in entries(&self.root.join("blobs"))? {
            for path in entries(&shard)? {
                let hex = format!("{}{}", name(&shard), name(&path));
                if !hex.parse::<Digest>().is_ok_and(|d| needed.contains(&d)) {
                    let size = fs::metadata(&path).io_at("read", &path)?.len();
                    garbage.blobs.push((path, size));
                }
            }
        }
        for path in entries(&self.root.join("tmp"))? {
            garbage.leftovers.push((path.clone(), size_below(&path)));
        }
        for path in entries(&self.root.join("work"))? {
            garbage.leftovers.push((path.clone(), size_below(&path)));
        }
        Ok(garbage)
    }

    /// Removes garbage. Nobody else may use the store meanwhile.
    ///
    /// # Errors
    /// Where another process has the store open.
    pub fn sweep(self, garbage: &Garbage) -> Result<Swept> {
        let root = self.root.clone();
        for key in &garbage.results {
            self.forget(key)?;
            let _ = fs::remove_file(self.preimage_path(key));
        }
        drop(self);
        let lock_path = root.join("in-use.lock");
        let lock = open_lock(&lock_path)?;
        if lock.try_lock().is_err() {
            return Err(Error::environment(format!("the store {} is in use by a run", root.display()))
                .help("wait until it has ended, then collect again; nothing was removed"));
        }
        for (path, _) in garbage.blobs.iter().chain(&garbage.leftovers) {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.io_at("remove", path)?;
        }
        Ok(Swept { results: garbage.results.len(), blobs: garbage.blobs.len(), freed: garbage.size() })
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).io_at("read", dir)? {
        out.push(entry.io_at("read", dir)?.path());
    }
    out.sort();
    Ok(out)
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn size_below(path: &Path) -> u64 {
    if path.is_dir() {
        entries(path).map(|all| all.iter().map(|p| size_below(p)).sum()).unwrap_or(0)
    } else {
        fs::metadata(path).map(|m| m.len()).unwrap_or(0)
    }
}
