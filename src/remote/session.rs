//! What a connection to a remote store does for one result, and what it learns on the way.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    answers::{Pulled, Pushed},
    backend::Backend,
    record::Record,
    remote_error::RemoteError,
    settings::Settings,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    store::{ActionResult, FileEntry, Store},
};

/// Failures in a row after which the remote is left alone, so that a dead one doesn't hold up every action.
pub(super) const PATIENCE: u32 = 3;

/// A connection and what was learnt through it.
pub(super) struct Session {
    pub backend: Backend,
    /// Requests at once.
    pub concurrency: usize,
    /// One for each request that may be under way.
    permits: Arc<Semaphore>,
    /// Keys and blobs that are to be written anew.
    damaged: Mutex<HashSet<Digest>>,
    /// Failures since the last success.
    failures: AtomicU32,
    /// Bytes.
    received: AtomicU64,
    /// Bytes.
    sent: AtomicU64,
}

impl Session {
    /// Makes no request yet.
    ///
    /// # Errors
    /// As [`Backend::new`].
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

    /// Fetches the result of `key` into the store.
    ///
    /// # Errors
    /// Where the remote can't be reached or refuses, the store can't be written, or the user asks to stop.
    pub async fn pull(&self, store: &Arc<Store>, key: Digest, action: &str) -> Result<Pulled> {
        if self.has_given_up() {
            return Ok(Pulled::GivenUp);
        }
        let answer = self.try_pull(store, key, action).await;
        self.note(&answer);
        match answer {
            Ok((result, bytes)) => Ok(Pulled::Found { result, bytes }),
            Err(RemoteError::Absent) => Ok(Pulled::Absent),
            Err(RemoteError::Damaged(why)) => {
                self.mark_damaged(key);
                Ok(Pulled::Damaged(why))
            }
            Err(RemoteError::Failed(e)) => Err(e),
        }
    }

    async fn try_pull(
        &self,
        store: &Arc<Store>,
        key: Digest,
        action: &str,
    ) -> Result<(ActionResult, u64), RemoteError> {
        let record = self.record(&key).await?;
        let missing = distinct(&record.result.files).into_iter().filter(|file| !store.holds(file));
        let bytes = self.all(missing.map(|file| self.download(store, file)).collect()).await?;
        let preimage = self.download_bytes(&record.preimage).await?;
        let preimage =
            serde_json::from_slice(&preimage).map_err(|e| RemoteError::Damaged(format!("its preimage: {e}")))?;
        tokio::task::block_in_place(|| store.record(key, action, &record.result, &preimage))?;
        Ok((record.result, bytes))
    }

    /// The result that the remote has for `key`, if it has a sound one. Nothing is fetched but the record.
    ///
    /// # Errors
    /// Where the remote can't be reached or refuses, or the user asks to stop.
    pub async fn look(&self, key: &Digest) -> Result<Option<ActionResult>> {
        let answer = self.record(key).await;
        self.note(&answer);
        match answer {
            Ok(record) => Ok(Some(record.result)),
            Err(RemoteError::Absent | RemoteError::Damaged(_)) => Ok(None),
            Err(RemoteError::Failed(e)) => Err(e),
        }
    }

    /// Sends the result of `key`; with `anew`, also what the remote seems to have.
    ///
    /// # Errors
    /// Where the result has gone from the store or its blobs are damaged, the remote can't be reached or refuses, or
    /// has failed several times in a row; or the user asks to stop.
    pub async fn push(&self, store: &Arc<Store>, key: Digest, anew: bool) -> Result<Pushed> {
        if self.has_given_up() {
            return Err(Error::environment("not tried, since the remote failed several times in a row"));
        }
        let answer = self.try_push(store, key, anew).await;
        self.note(&answer);
        answer.map_err(|error| match error {
            RemoteError::Failed(e) => e,
            RemoteError::Absent => Error::environment(format!("{}: there is no such bucket", self.backend.name)),
            RemoteError::Damaged(why) => Error::environment(format!("{}: {why}", self.backend.name)),
        })
    }

    async fn try_push(&self, store: &Arc<Store>, key: Digest, anew: bool) -> Result<Pushed, RemoteError> {
        let gone = || Error::environment(format!("the result of {} is no longer in the store", key.short()));
        let result = store.lookup(&key).ok_or_else(gone)?;
        let preimage = store.preimage(&key).ok_or_else(gone)?;
        let mut rewrite = anew || self.is_damaged(&key);
        if !rewrite {
            match self.record(&key).await {
                Ok(known) => return Ok(compare(&known, &result)),
                Err(RemoteError::Absent) => {}
                Err(RemoteError::Damaged(_)) => rewrite = true,
                Err(error) => return Err(error),
            }
        }
        let replace = |file: &FileEntry| anew || self.is_damaged(&file.digest);
        let files = distinct(&result.files).into_iter();
        let bytes = self.all(files.map(|file| self.upload(store, file, replace(file))).collect()).await?;
        let preimage = serde_json::to_vec(&preimage).map_err(Error::from)?;
        let record = Record { key, result, preimage: self.upload_bytes(preimage).await? };
        if !rewrite && !self.create(&record).await? {
            match self.record(&key).await {
                Ok(known) => return Ok(compare(&known, &record.result)),
                Err(RemoteError::Failed(e)) => return Err(e.into()),
                Err(_) => rewrite = true,
            }
        }
        if rewrite {
            self.replace(&record).await?;
        }
        Ok(Pushed::Sent { bytes })
    }

    pub(super) fn error(&self, e: &object_store::Error) -> RemoteError {
        match e {
            object_store::Error::NotFound { .. } => RemoteError::Absent,
            e => RemoteError::Failed(self.backend.error(e)),
        }
    }

    /// Waits until one more request may be under way.
    ///
    /// # Errors
    /// Once the session was closed: the user asked to stop.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::interrupted("stopped on request"))
    }

    /// A error of a blob that a record names: that it isn't there is damage, too.
    pub(super) fn error_of_blob(&self, error: RemoteError, digest: &Digest) -> RemoteError {
        let why = match error {
            RemoteError::Absent => "is missing".to_owned(),
            RemoteError::Damaged(why) => why,
            failed => return failed,
        };
        self.mark_damaged(*digest);
        RemoteError::Damaged(format!("blob {} {why}", digest.short()))
    }

    fn note<T>(&self, answer: &Result<T, RemoteError>) {
        match answer {
            Err(RemoteError::Failed(_)) => self.failures.fetch_add(1, Ordering::Relaxed),
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
    if known.result.artifact == ours.artifact { Pushed::Present } else { Pushed::Differs }
}

/// Each content once: an artifact may hold the same bytes under several names.
fn distinct(files: &[FileEntry]) -> Vec<&FileEntry> {
    let mut seen = HashSet::new();
    files.iter().filter(|file| seen.insert(file.digest)).collect()
}
