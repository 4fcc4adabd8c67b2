//! Content-addressed blobs, action results, locks and garbage collection. Knows bytes, not what actions mean.
//!
//! ```text
//! cache/
//!   blobs/ab/cdef...     read-only files, named by their BLAKE3
//!   index.jsonl          one checksummed line per action result, append-only; the only thing that makes a result visible
//!   actions/ab/cdef....json   preimage of each key, for `explain`
//!   locks/KEY            held (flock) by the process that computes KEY; the kernel releases it when the process dies
//!   work/KEY/            what an interrupted action keeps: partial downloads, checkpoints
//!   tmp/                 staging; anything here may vanish
//!   unsent/KEY           results that a remote store hasn't got yet
//!   runs/RUN/            journal and worker logs of each run
//! ```
//!
//! Order of publication: blobs (written elsewhere on the same filesystem, synced, renamed), then the preimage, then the
//! index line. A crash in between leaves unreferenced files, never a result that lies. A result whose blob is missing or
//! has another size is a miss.

mod blobs;
mod digest;
mod gc;
mod index;
mod unsent;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

pub use digest::Digest;
pub use gc::{Garbage, Swept};
use index::Index;
pub use index::{FileEntry, Outcome};

use crate::error::{Error, IoAt, Result};

/// A store, opened for reading and writing.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    index: Mutex<Index>,
    /// Shared lock for as long as this store is open: garbage collection needs it exclusively.
    _in_use: File,
}

impl Store {
    /// Opens the store in `root`, creating it where needed.
    ///
    /// # Errors
    /// Where the folder can't be written, or a garbage collection is under way.
    pub fn open(root: &Path) -> Result<Self> {
        for dir in ["blobs", "actions", "locks", "work", "tmp", "runs"] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).io_at("create the store's folder", &dir)?;
        }
        let root = root.canonicalize().io_at("open the store", root)?;
        let lock_path = root.join("in-use.lock");
        let in_use = open_lock(&lock_path)?;
        if in_use.try_lock_shared().is_err() {
            return Err(Error::environment(format!(
                "the store {} is being cleaned by another process",
                root.display()
            ))
            .help("wait for the `emopipe gc` that is running, then try again"));
        }
        let index = Index::open(&root.join("index.jsonl"))?;
        Ok(Self { root, index: Mutex::new(index), _in_use: in_use })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The result of an action, if it is there with all of its bytes.
    pub fn lookup(&self, key: &Digest) -> Option<Outcome> {
        let outcome = self.index().get(key)?.clone();
        self.is_complete(&outcome).then_some(outcome)
    }

    /// The key under which the action of this name was last published or found, whatever its parameters were.
    pub fn latest_key(&self, action: &str) -> Option<Digest> {
        self.index().latest(action)
    }

    /// Number of results in the index.
    pub fn len(&self) -> usize {
        self.index().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads what other processes have published since.
    pub fn refresh(&self) -> Result<()> {
        self.index().refresh()
    }

    /// Whether every blob of the outcome is there with its size.
    fn is_complete(&self, outcome: &Outcome) -> bool {
        outcome.files.iter().all(|f| self.holds(f))
    }

    /// Where each file of an outcome lies.
    pub fn paths(&self, outcome: &Outcome) -> BTreeMap<String, PathBuf> {
        outcome.files.iter().map(|f| (f.name.clone(), self.blob(&f.digest))).collect()
    }

    /// Makes the files under `folder` an action's result. The folder is emptied.
    pub fn publish(&self, key: Digest, action: &str, folder: &Path, preimage: &serde_json::Value) -> Result<Outcome> {
        let mut files = Vec::new();
        for (name, path) in files_below(folder)? {
            let (digest, size) = self.ingest(&path)?;
            files.push(FileEntry { name, digest, size });
        }
        let outcome = Outcome::new(files);
        self.record(key, action, &outcome, preimage)?;
        Ok(outcome)
    }

    /// Makes an outcome, all of whose blobs are in the store, an action's result.
    pub fn record(&self, key: Digest, action: &str, outcome: &Outcome, preimage: &serde_json::Value) -> Result<()> {
        let record = self.preimage_path(&key);
        self.write_atomically(&record, serde_json::to_string_pretty(preimage)?.as_bytes())?;
        self.index().append(key, action, outcome)
    }

    /// Whether the blob of this file is there with its size.
    pub fn holds(&self, file: &FileEntry) -> bool {
        fs::metadata(self.blob(&file.digest)).is_ok_and(|m| m.len() == file.size)
    }

    /// Notes that `action` now stands for `key`, so that the next change is explained against it.
    pub fn note_use(&self, key: Digest, action: &str) -> Result<()> {
        if self.latest_key(action) == Some(key) {
            return Ok(());
        }
        self.index().append_use(key, action)
    }

    /// Takes a result back: the next run computes it again.
    pub fn forget(&self, key: &Digest) -> Result<()> {
        self.index().forget(*key)
    }

    /// The description whose hash `key` is.
    pub fn preimage(&self, key: &Digest) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.preimage_path(key)).ok()?).ok()
    }

    fn preimage_path(&self, key: &Digest) -> PathBuf {
        sharded(&self.root.join("actions"), key).with_extension("json")
    }

    /// Waits until no other process computes `key`, then holds that right until the file is dropped.
    /// `waiting` is called once if it has to wait.
    pub fn lock(&self, key: &Digest, waiting: impl FnOnce()) -> Result<File> {
        let path = self.root.join("locks").join(key.to_string());
        let file = open_lock(&path)?;
        if file.try_lock().is_err() {
            waiting();
            file.lock().io_at("lock", &path)?;
        }
        Ok(file)
    }

    /// The folder that `key`'s action keeps between attempts.
    pub fn work(&self, key: &Digest) -> Result<PathBuf> {
        let dir = self.root.join("work").join(key.to_string());
        fs::create_dir_all(&dir).io_at("create", &dir)?;
        Ok(dir)
    }

    /// A new empty folder on the store's filesystem, removed when dropped.
    pub fn staging(&self) -> Result<tempfile::TempDir> {
        let tmp = self.root.join("tmp");
        tempfile::tempdir_in(&tmp).io_at("create a folder in", &tmp)
    }

    /// Creates the folder of a run.
    pub fn run_folder(&self, run: &str) -> Result<PathBuf> {
        let dir = self.root.join("runs").join(run);
        fs::create_dir_all(&dir).io_at("create", &dir)?;
        Ok(dir)
    }

    /// Names of all runs, oldest first.
    pub fn runs(&self) -> Result<Vec<String>> {
        let dir = self.root.join("runs");
        let mut names: Vec<String> =
            fs::read_dir(&dir).io_at("read", &dir)?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Places an outcome's files under `target`, by reflink or hard link where the filesystem can.
    /// Files that already have the right bytes are left alone. Returns how many were written.
    pub fn export(&self, outcome: &Outcome, target: &Path) -> Result<usize> {
        let mut written = 0;
        for file in &outcome.files {
            let to = target.join(&file.name);
            let same = fs::metadata(&to).is_ok_and(|m| m.len() == file.size) && Digest::of_file(&to)? == file.digest;
            if !same {
                let bytes = self.blob(&file.digest);
                // A copy, not a link: people edit what lies in their project folder, and a link would let them edit the store.
                let content = fs::read(&bytes).io_at("read", &bytes)?;
                self.write_atomically(&to, &content)?;
                written += 1;
            }
        }
        Ok(written)
    }

    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).io_at("create", parent)?;
        let mut temp =
            tempfile::Builder::new().prefix(".emopipe-").tempfile_in(parent).io_at("create a file in", parent)?;
        temp.write_all(bytes).and_then(|()| temp.as_file().sync_all()).io_at("write", path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o644)).io_at("write", path)?;
        }
        temp.persist(path).map_err(|e| Error::io("write", path, &e.error))?;
        Ok(())
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn open_lock(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path).io_at("open the lock", path)
}

/// `base/ab/cdef...`: few enough entries a folder for every filesystem.
fn sharded(base: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    base.join(&hex[..2]).join(&hex[2..])
}

/// Relative names (with `/`) and paths of the regular files below `folder`, sorted by name.
fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    fn walk(dir: &Path, prefix: &str, out: &mut Vec<(String, PathBuf)>) -> Result<()> {
        for entry in fs::read_dir(dir).io_at("read", dir)? {
            let entry = entry.io_at("read", dir)?;
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|n| {
                Error::input(format!("the file name {} is not UTF-8", n.display())).help("give the output another name")
            })?;
            let name = format!("{prefix}{name}");
            let kind = entry.file_type().io_at("read", &path)?;
            if kind.is_dir() {
                walk(&path, &format!("{name}/"), out)?;
            } else if kind.is_file() {
                out.push((name, path));
            } else {
                return Err(Error::input(format!("the output {name} is neither a file nor a folder"))
                    .help("links and special files can't be kept in the store; write a copy instead"));
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(folder, "", &mut out)?;
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests;
