//! What a connection to a remote store does for one result, and what it learns on the way.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Pulled, Pushed, Record, Settings, backend::Backend};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    store::{ActionResult, FileEntry, Store},
};

/// Failures in a row after which the remote is left alone, so that a dead one doesn't hold up every action.
pub(super) const PATIENCE: u32 = 3;

/// Why something of the remote can't be had.
#[derive(Debug)]
pub(super) enum Fault {
    Absent,
    /// It isn't what its name says.
    Damaged(String),
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

/// A connection and what was learnt through it.
pub(super) struct Session {
    pub backend: Backend,
    pub concurrency: usize,
    /// One for each request that may be under way.
    permits: Arc<Semaphore>,
    /// Keys and blobs that are to be written anew.
    damaged: Mutex<HashSet<Digest>>,
    /// Failures since the last success.
    failures: AtomicU32,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Session {
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            backend: Backend::new(settings)?,
            concurrency: settings.concurrency,
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            damaged: Mutex::default(),
            failures: AtomicU32::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    /// Lets every request that would begin from now on be an interruption.
    pub fn close(&self) {
        self.permits.close();
    }

    /// Bytes that were received and sent.
    pub fn traffic(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub async fn pull(&self, store: &Arc<Store>, key: Digest, action: &str) -> Result<Pulled> {
        if self.has_given_up() {
            return Ok(Pulled::GivenUp);
        }
        let answer = self.try_pull(store, key, action).await;
        self.note(&answer);
        match answer {
            Ok((outcome, bytes)) => Ok(Pulled::Found { outcome, bytes }),
            Err(Fault::Absent) => Ok(Pulled::Absent),
            Err(Fault::Damaged(why)) => {
                self.mark_damaged(key);
                Ok(Pulled::Damaged(why))
            }
            Err(Fault::Failed(e)) => Err(e),
        }
    }

    async fn try_pull(&self, store: &Arc<Store>, key: Digest, action: &str) -> Result<(ActionResult, u64), Fault> {
        let record = self.record(&key).await?;
        let missing = distinct(&record.outcome.files).into_iter().filter(|file| !store.holds(file));
        let bytes = self.all(missing.map(|file| self.download(store, file)).collect()).await?;
        let preimage = self.download_bytes(&record.preimage).await?;
        let preimage = serde_json::from_slice(&preimage).map_err(|e| Fault::Damaged(format!("its preimage: {e}")))?;
        tokio::task::block_in_place(|| store.record(key, action, &record.outcome, &preimage))?;
        Ok((record.outcome, bytes))
    }

    pub async fn look(&self, key: &Digest) -> Result<Option<ActionResult>> {
        let answer = self.record(key).await;
        self.note(&answer);
        match answer {
            Ok(record) => Ok(Some(record.outcome)),
            Err(Fault::Absent | Fault::Damaged(_)) => Ok(None),
            Err(Fault::Failed(e)) => Err(e),
        }
    }

    pub async fn push(&self, store: &Arc<Store>, key: Digest, anew: bool) -> Result<Pushed> {
        if self.has_given_up() {
            return Err(Error::environment("not tried, since the remote failed several times in a row"));
        }
        let answer = self.try_push(store, key, anew).await;
        self.note(&answer);
        answer.map_err(|fault| match fault {
            Fault::Failed(e) => e,
            Fault::Absent => Error::environment(format!("{}: there is no such bucket", self.backend.name)),
            Fault::Damaged(why) => Error::environment(format!("{}: {why}", self.backend.name)),
        })
    }

    async fn try_push(&self, store: &Arc<Store>, key: Digest, anew: bool) -> Result<Pushed, Fault> {
        let gone = || Error::environment(format!("the result of {} is no longer in the store", key.short()));
        let outcome = store.lookup(&key).ok_or_else(gone)?;
        let preimage = store.preimage(&key).ok_or_else(gone)?;
        let mut rewrite = anew || self.is_damaged(&key);
        if !rewrite {
            match self.record(&key).await {
                Ok(known) => return Ok(compare(&known, &outcome)),
                Err(Fault::Absent) => {}
                Err(Fault::Damaged(_)) => rewrite = true,
                Err(fault) => return Err(fault),
            }
        }
        let replace = |file: &FileEntry| anew || self.is_damaged(&file.digest);
        let files = distinct(&outcome.files).into_iter();
        let bytes = self.all(files.map(|file| self.upload(store, file, replace(file))).collect()).await?;
        let preimage = serde_json::to_vec(&preimage).map_err(Error::from)?;
        let record = Record { key, outcome, preimage: self.upload_bytes(preimage).await? };
        if !rewrite && !self.create(&record).await? {
            match self.record(&key).await {
                Ok(known) => return Ok(compare(&known, &record.outcome)),
                Err(Fault::Failed(e)) => return Err(e.into()),
                Err(_) => rewrite = true,
            }
        }
        if rewrite {
            self.replace(&record).await?;
        }
        Ok(Pushed::Sent { bytes })
    }

    pub(super) fn fault(&self, e: &object_store::Error) -> Fault {
        match e {
            object_store::Error::NotFound { .. } => Fault::Absent,
            e => Fault::Failed(self.backend.error(e)),
        }
    }

    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::interrupted("stopped on request"))
    }

    /// A fault of a blob that a record names: that it isn't there is damage, too.
    pub(super) fn fault_of_blob(&self, fault: Fault, digest: &Digest) -> Fault {
        let why = match fault {
            Fault::Absent => "is missing".to_owned(),
            Fault::Damaged(why) => why,
            failed => return failed,
        };
        self.mark_damaged(*digest);
        Fault::Damaged(format!("blob {} {why}", digest.short()))
    }

    fn note<T>(&self, answer: &Result<T, Fault>) {
        match answer {
            Err(Fault::Failed(_)) => self.failures.fetch_add(1, Ordering::Relaxed),
            _ => self.failures.swap(0, Ordering::Relaxed),
        };
    }

    fn has_given_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= PATIENCE
    }

    pub(super) fn mark_damaged(&self, digest: Digest) {
        self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(digest);
    }

    pub(super) fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(digest)
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn compare(known: &Record, ours: &ActionResult) -> Pushed {
    if known.outcome.artifact == ours.artifact { Pushed::Present } else { Pushed::Differs }
}

/// Each content once: an artifact may hold the same bytes under several names.
fn distinct(files: &[FileEntry]) -> Vec<&FileEntry> {
    let mut seen = HashSet::new();
    files.iter().filter(|file| seen.insert(file.digest)).collect()
}
