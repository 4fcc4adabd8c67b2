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
//!   memos/               what runs saw that found everything; may vanish
//!   runs/RUN/            journal and worker logs of each run
//! ```
//!
//! On a filesystem without locks nothing is damaged either: what several processes compute twice has the same name and
//! is renamed into place, and an index line that another one tore or overwrote fails its checksum, which is a miss.
//!
//! Order of publication: blobs (written elsewhere on the same filesystem, synced, renamed), then the preimage, then the
//! index line. A crash in between leaves unreferenced files, never a result that lies. A result whose blob is missing or
//! has another size is a miss.

mod blobs;
mod entered;
mod gc;
mod index;
mod lock;
mod unsent;
mod verify;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

pub use entered::Entered;
pub use gc::{Collected, Garbage, Retention, Swept};
use index::Index;
pub use index::{Acceptance, FileEntry, Known, Outcome};
use lock::{Attempt, Locks};
pub use verify::{Audit, Damage, Repaired};

pub use crate::digest::Digest;
use crate::{
    error::{Error, IoAt, Result},
    fault,
};

const INDEX: &str = "index.jsonl";
/// Hexadecimal digits of a digest that name a folder.
const SHARD: usize = 2;

/// A store, opened for reading and writing.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    index: Mutex<Index>,
    locks: Locks,
    /// For as long as this store is open: shared, or exclusive for garbage collection and repair.
    _in_use: Option<File>,
}

impl Store {
    /// Opens the store in `root`, creating it where needed.
    ///
    /// # Errors
    /// Where the folder can't be written, or a garbage collection is under way.
    pub fn open(root: &Path) -> Result<Self> {
        Self::of(Entered::new(root)?)
    }

    /// Opens the store for this process alone, to remove things.
    ///
    /// # Errors
    /// Where another process has the store open, or nobody could tell.
    pub fn open_alone(root: &Path) -> Result<Self> {
        Self::of(Entered::alone(root)?)
    }

    fn of(entered: Entered) -> Result<Self> {
        let Entered { root, locks, in_use } = entered;
        let index = Index::open(&root.join(INDEX), locks)?;
        Ok(Self { root, index: Mutex::new(index), locks, _in_use: in_use })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The result of an action, if it is there with all of its bytes: of several, the one that was published first.
    pub fn lookup(&self, key: &Digest) -> Option<Outcome> {
        let outcomes = self.index().get(key)?.outcomes.clone();
        outcomes.into_iter().find(|o| self.is_complete(o))
    }

    /// Everything that is known under a key, whether its bytes are there or not.
    pub fn known(&self, key: &Digest) -> Option<Known> {
        self.index().get(key).cloned()
    }

    /// All keys and what is known of them, in the order in which they became known.
    pub fn results(&self) -> Vec<(Digest, Known)> {
        let mut all: Vec<_> = self.index().iter().map(|(key, known)| (*key, known.clone())).collect();
        all.sort_by_key(|(_, known)| known.order);
        all
    }

    /// Why another key's result stands for this one, if it does.
    pub fn acceptance(&self, key: &Digest) -> Option<Acceptance> {
        self.index().get(key)?.accepted.clone()
    }

    /// Lets `outcome`, a result of the key `acceptance.from`, stand for `key`, which is described by `record`.
    pub fn accept(
        &self,
        key: Digest,
        action: &str,
        outcome: &Outcome,
        acceptance: Acceptance,
        record: &serde_json::Value,
    ) -> Result<()> {
        self.write_record(&key, record)?;
        self.index().append_acceptance(key, action, outcome, acceptance)
    }

    /// Whether one description has given different bytes.
    pub fn is_ambiguous(&self, key: &Digest) -> bool {
        self.index().get(key).is_some_and(|known| known.outcomes.len() > 1)
    }

    /// What the files under `folder` would be called as an artifact.
    pub fn listing(&self, folder: &Path) -> Result<Outcome> {
        let mut files = Vec::new();
        for (name, path) in files_below(folder)? {
            let size = fs::metadata(&path).io_at("read", &path)?.len();
            files.push(FileEntry { name, digest: Digest::of_file(&path)?, size });
        }
        Ok(Outcome::new(files))
    }

    /// Bytes below one of the store's folders, such as `blobs`.
    pub fn size_of(&self, folder: &str) -> u64 {
        gc::size_below(&self.root.join(folder))
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
        self.write_record(&key, preimage)?;
        fault::at("record");
        self.index().append(key, action, outcome)
    }

    /// Whether the blob of this file is there with its size.
    pub fn holds(&self, file: &FileEntry) -> bool {
        fs::metadata(self.blob(&file.digest)).is_ok_and(|m| m.len() == file.size)
    }

    /// Not synced: a record that a power failure takes costs an explanation and no result.
    fn write_record(&self, key: &Digest, record: &serde_json::Value) -> Result<()> {
        replace(&self.preimage_path(key), serde_json::to_string_pretty(record)?.as_bytes(), |_| Ok(()))
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
    /// `waiting` is called once if it has to wait. Without locks two processes may compute the same: see the module.
    pub fn lock(&self, key: &Digest, waiting: impl FnOnce()) -> Result<Option<File>> {
        let path = self.root.join("locks").join(key.to_string());
        match self.locks.try_exclusive(&path)? {
            Attempt::Held(file) => Ok(Some(file)),
            Attempt::Busy(file) => {
                waiting();
                Ok(self.locks.wait(&file, &path)?.then_some(file))
            }
            Attempt::Unavailable => Ok(None),
        }
    }

    /// The folder that `key`'s action keeps between attempts; it needn't exist. Without a lock on the key it can't be shared, so a process
    /// that has none gets a folder of its own.
    pub fn work(&self, key: &Digest, locked: bool) -> PathBuf {
        let name = if locked { key.to_string() } else { format!("{key}.{}", unique_process()) };
        self.root.join("work").join(name)
    }

    /// A new empty folder on the store's filesystem, removed when dropped.
    pub fn staging(&self) -> Result<tempfile::TempDir> {
        let tmp = self.root.join("tmp");
        tempfile::tempdir_in(&tmp).io_at("create a folder in", &tmp)
    }

    /// Creates the folder of a run.
    pub fn run_folder(&self, run: &str) -> Result<PathBuf> {
        run_folder(&self.root, run)
    }

    /// The digest of the index, if nobody has added to it since this store was opened.
    pub fn index_as_opened(&self) -> Result<Option<Digest>> {
        self.index().as_opened()
    }

    /// Keeps a memo for [`Entered::memo_in`]. It has to carry a checksum of its own.
    pub fn write_memo(&self, id: &Digest, memo: &[u8]) -> Result<()> {
        replace(&Entered::memo_in(&self.root, id), memo, |_| Ok(()))
    }

    /// Names of all runs, oldest first.
    pub fn runs(&self) -> Result<Vec<String>> {
        let dir = self.root.join("runs");
        let mut names: Vec<String> =
            fs::read_dir(&dir).io_at("read", &dir)?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Places an outcome's files under `target`. Files that already have the right bytes are left alone. Returns how many
    /// were written.
    ///
    /// # Errors
    /// Also where a blob isn't what its name says; then its file isn't touched.
    pub fn export(&self, outcome: &Outcome, target: &Path) -> Result<usize> {
        let mut written = 0;
        for file in &outcome.files {
            let to = target.join(&file.name);
            let same = fs::metadata(&to).is_ok_and(|m| m.len() == file.size) && Digest::of_file(&to)? == file.digest;
            if !same {
                let blob = self.blob(&file.digest);
                if Digest::of_file(&blob)? != file.digest {
                    return Err(Error::environment(format!("the blob of {} is damaged", file.name))
                        .help("`emopipe verify --repair` drops it, and the next run computes it again"));
                }
                place(&blob, &to)?;
                written += 1;
            }
        }
        Ok(written)
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn run_folder(root: &Path, run: &str) -> Result<PathBuf> {
    let dir = root.join("runs").join(run);
    fs::create_dir_all(&dir).io_at("create", &dir)?;
    Ok(dir)
}

/// Names this process among all that may share the store, also from other machines.
fn unique_process() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", Digest::of(host.trim().as_bytes()).short(), std::process::id())
}

/// Copies a blob into the project. A copy, not a hard link: people edit what lies in their project folder, and a link would
/// let them edit the store. Where the filesystem can, the copy shares its bytes until then.
fn place(blob: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).io_at("create", parent)?;
    let folder = tempfile::Builder::new().prefix(".emopipe-").tempdir_in(parent).io_at("create a folder in", parent)?;
    let copy = folder.path().join("copy");
    reflink_copy::reflink_or_copy(blob, &copy).io_at("write", to)?;
    set_ordinary(&copy).io_at("write", to)?;
    File::open(&copy).and_then(|f| f.sync_all()).io_at("write", to)?;
    fs::rename(&copy, to).io_at("write", to)
}

/// The permissions that new files usually have.
fn set_ordinary(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Leaves the old content or the new one, also after a power failure.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, File::sync_all)
}

/// Leaves the old content or the new one if the process dies.
fn replace(path: &Path, bytes: &[u8], sync: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).io_at("create", parent)?;
    let mut temp =
        tempfile::Builder::new().prefix(".emopipe-").tempfile_in(parent).io_at("create a file in", parent)?;
    temp.write_all(bytes).and_then(|()| sync(temp.as_file())).io_at("write", path)?;
    set_ordinary(temp.path()).io_at("write", path)?;
    temp.persist(path).map_err(|e| Error::io("write", path, &e.error))?;
    Ok(())
}

/// `base/ab/cdef...`: few enough entries a folder for every filesystem.
fn sharded(base: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    base.join(&hex[..SHARD]).join(&hex[SHARD..])
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
