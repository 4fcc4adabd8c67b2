//! The lease of a store: for as long as a process holds it, nobody cleans the store. Its index isn't read yet.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::{
    folders::{FOLDERS, IN_USE, INDEX, Modes, PENDING_PUSH, SHARD, blob_in, run_folder},
    marker,
};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{Error, IoAt, Result},
    locks::{Attempt, Locks},
};

/// A store in use by this process.
#[derive(Debug)]
pub struct Lease {
    pub(super) root: PathBuf,
    pub(super) locks: Locks,
    pub(super) modes: Modes,
    /// Shared, or exclusive for garbage collection and repair.
    pub(super) in_use: Option<File>,
}

impl Lease {
    /// Takes the store in `root`, creating it where needed.
    ///
    /// # Errors
    /// Where the folder can't be written or holds other things, or a garbage collection is under way.
    pub fn new(root: &Path) -> Result<Self> {
        marker::make(root)?;
        Self::take(root, |locks, lock, modes| match locks.try_shared(lock, modes.file)? {
            Attempt::Held(file) => Ok(Some(file)),
            Attempt::Unavailable => Ok(None),
            Attempt::Busy(_) => Err(being_cleaned(root)),
        })
    }

    /// Takes the store for this process alone.
    ///
    /// # Errors
    /// Where there is no store, another process is in it, or nobody could tell.
    pub(super) fn exclusive(root: &Path) -> Result<Self> {
        marker::require(root)?;
        marker::make(root)?;
        Self::take(root, |locks, lock, modes| match locks.try_exclusive(lock, modes.file)? {
            Attempt::Held(file) => Ok(Some(file)),
            Attempt::Busy(_) => Err(Error::environment(format!("the store {} is in use by a run", root.display()))
                .help("wait until it has ended, then try again; nothing was removed")),
            Attempt::Unavailable => Err(Error::environment(format!(
                "the store {} lies on a filesystem without locks, so nobody can tell whether a run uses it",
                root.display()
            ))
            .help("do this on the machine that has the disk; nothing was removed")),
        })
    }

    /// Takes the store to read: nothing is written, so that it may be a store that this user can't write to, or none yet.
    ///
    /// # Errors
    /// Where a garbage collection is under way.
    pub(super) fn to_read(root: &Path) -> Result<Self> {
        let locks = Locks::from_env();
        let root = root.canonicalize().or_else(|_| std::path::absolute(root)).io_at("open the store", root)?;
        let in_use = match locks.try_shared_reading(&root.join(IN_USE))? {
            Attempt::Held(file) => Some(file),
            Attempt::Unavailable => None,
            Attempt::Busy(_) => return Err(being_cleaned(&root)),
        };
        let modes = Modes::of(&root);
        Ok(Self { root, locks, modes, in_use })
    }

    fn take(root: &Path, lock: impl FnOnce(Locks, &Path, Modes) -> Result<Option<File>>) -> Result<Self> {
        let root = root.canonicalize().io_at("open the store", root)?;
        let (locks, modes) = (Locks::from_env(), Modes::of(&root));
        let mut made = false;
        for folder in FOLDERS {
            let folder = root.join(folder);
            made |= folder.symlink_metadata().is_err() && modes.create_folder(&folder)?;
        }
        if made {
            durable::sync_folder(&root)?;
        }
        may_write(&root)?;
        let in_use = lock(locks, &root.join(IN_USE), modes)?;
        Ok(Self { root, locks, modes, in_use })
    }

    /// Where the memo of this name lies in the store in `root`, if there is one.
    pub fn memo_in(root: &Path, id: &Digest) -> PathBuf {
        root.join("memos").join(id.to_string())
    }

    /// Where the blob of this digest lies, if it is there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_in(&self.root, digest)
    }

    /// Creates the folder of a run.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn run_folder(&self, run: &str) -> Result<PathBuf> {
        run_folder(&self.root, self.modes, run)
    }

    /// Whether the bytes of the index have this digest.
    pub fn has_index(&self, digest: &Digest) -> bool {
        Digest::of_file(&self.root.join(INDEX)).is_ok_and(|found| found == *digest)
    }

    /// Whether blobs of these digests are there with their sizes. Much faster where they are sorted.
    pub fn holds_all(&self, blobs: &[(Digest, u64)]) -> bool {
        let shard = |(digest, _): &(Digest, u64)| digest.as_bytes()[0];
        let shards: Vec<&[(Digest, u64)]> = blobs.chunk_by(|a, b| shard(a) == shard(b)).collect();
        shards.into_par_iter().all(|shard| self.shard_holds(shard).unwrap_or(false))
    }

    /// As `holds_all`, for blobs of one folder, which is then looked for once.
    fn shard_holds(&self, blobs: &[(Digest, u64)]) -> rustix::io::Result<bool> {
        let Some((first, _)) = blobs.first() else { return Ok(true) };
        let path = self.blob(first);
        let folder = rustix::fs::open(path.parent().unwrap_or(&self.root), OFlags::PATH, Mode::empty())?;
        for (digest, size) in blobs {
            let hex = digest.to_hex();
            if rustix::fs::statat(&folder, &hex[SHARD..], AtFlags::empty())?.st_size as u64 != *size {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether no result waits to be sent to a remote store.
    pub fn has_no_pending_push(&self) -> bool {
        match fs::read_dir(self.root.join(PENDING_PUSH)) {
            Ok(mut marks) => marks.next().is_none(),
            Err(e) => e.kind() == ErrorKind::NotFound,
        }
    }
}

/// Says at once what couldn't be written later.
fn may_write(root: &Path) -> Result<()> {
    let below = FOLDERS.iter().chain(&[IN_USE, INDEX]).map(|name| root.join(name));
    for path in [root.to_owned()].into_iter().chain(below) {
        match rustix::fs::access(&path, rustix::fs::Access::WRITE_OK) {
            Err(e) if e != rustix::io::Errno::NOENT => return Err(not_writable(root, &path, &e.into())),
            _ => {}
        }
    }
    Ok(())
}

fn not_writable(root: &Path, path: &Path, e: &std::io::Error) -> Error {
    let root = root.display();
    Error::io("write to the store", path, e).help(format!(
        "make the folder writable, or name another store with `--store DIR` or EMOPIPE_STORE; a group can share this one after \
         `chgrp -R GROUP {root} && chmod -R g+rwX {root}`"
    ))
}

fn being_cleaned(root: &Path) -> Error {
    Error::environment(format!("the store {} is being cleaned by another process", root.display()))
        .help("wait for the `emopipe gc` or `emopipe verify --repair` that is running, then try again")
}
