//! Results shared between machines: a folder on a shared filesystem, or a bucket. Knows bytes, not what actions mean.
//!
//! ```text
//! REMOTE/v1/
//!   blobs/ab/cdef...      files and preimages, named by their BLAKE3
//!   results/ab/cdef...    one checksummed line per action key: its files, and the blob of its preimage
//! ```
//!
//! A result's line is written after everything it names, with a condition that it isn't there yet where the service knows
//! conditions. So a writer that dies leaves at most blobs that nothing names (in a folder, also temporary files; in a
//! bucket, parts of uploads that were never completed). No locks are needed: two writers of a blob write the same bytes.
//!
//! Whatever is read is compared with its BLAKE3 before it enters the local store. What doesn't match counts as absent, is
//! reported, and is replaced when this process next sends the same result.
//!
//! Nothing is connected, and no thread started, before the first request.

mod backend;
mod connector;
mod record;
pub mod secrets;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    config::{RemoteConfig, RemotePlace},
    error::{Error, Result},
    store::{Digest, FileEntry, Outcome, Store},
};
use backend::Backend;
use record::Record;

const CONCURRENCY: u32 = 8;
const TIMEOUT: u32 = 60;
/// Failures in a row after which the remote is left alone, so that a dead one doesn't hold up every action.
const PATIENCE: u32 = 3;

/// A remote store, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub place: RemotePlace,
    /// Whether a run takes results from it.
    pub pull: bool,
    /// Whether a run sends what it computes to it.
    pub push: bool,
    /// Most requests at once.
    pub concurrency: usize,
    /// Silence after which a request has failed.
    pub timeout: Duration,
}

impl Settings {
    /// `None` where no place is named.
    pub fn new(config: RemoteConfig) -> Option<Self> {
        Some(Self {
            place: config.place?,
            pull: config.pull.unwrap_or(true),
            push: config.push.unwrap_or(true),
            concurrency: config.concurrency.unwrap_or(CONCURRENCY) as usize,
            timeout: Duration::from_secs(config.timeout.unwrap_or(TIMEOUT).into()),
        })
    }

    #[cfg(test)]
    fn for_folder(folder: &std::path::Path) -> Self {
        let place = Some(RemotePlace::Folder(folder.to_owned()));
        Self::new(RemoteConfig { place, ..RemoteConfig::default() }).unwrap()
    }
}

/// What came of asking the remote for a result.
#[derive(Debug)]
pub enum Pulled {
    /// It is in the store now. Bytes that were fetched.
    Found {
        outcome: Outcome,
        bytes: u64,
    },
    Absent,
    /// There is something under its name that isn't it; says what.
    Damaged(String),
    /// Not asked, because the remote has failed too often.
    GivenUp,
}

/// What came of sending a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Sent {
        bytes: u64,
    },
    /// The remote had it.
    Present,
    /// The remote has another result under this key, which stays.
    Differs,
}

/// A remote store, connected on first use. All methods return at once; answers come through the given functions, on
/// threads of its own.
pub struct Remote {
    settings: Settings,
    link: OnceLock<Result<Link>>,
}

struct Link {
    session: Arc<Session>,
    runtime: Runtime,
}

impl Remote {
    pub fn new(settings: Settings) -> Self {
        Self { settings, link: OnceLock::new() }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Fetches the result of `key` into the store, where it stands for `action`.
    pub fn pull(
        &self,
        store: &Arc<Store>,
        key: Digest,
        action: &str,
        then: impl FnOnce(Result<Pulled>) + Send + 'static,
    ) {
        let (store, action) = (Arc::clone(store), action.to_owned());
        self.start(then, move |session| async move { session.pull(&store, key, &action).await });
    }

    /// The files of `key`'s result, without fetching them; `None` where the remote hasn't it.
    pub fn look(&self, key: Digest, then: impl FnOnce(Result<Option<Outcome>>) + Send + 'static) {
        self.start(then, move |session| async move { session.look(&key).await });
    }

    /// Sends the store's result of `key`. With `anew`, also what the remote seems to have.
    pub fn push(
        &self,
        store: &Arc<Store>,
        key: Digest,
        anew: bool,
        then: impl FnOnce(Result<Pushed>) + Send + 'static,
    ) {
        let store = Arc::clone(store);
        self.start(then, move |session| async move { session.push(&store, key, anew).await });
    }

    /// Lets what is under way end at its next request, answered with an interruption. Nothing half-done is visible.
    pub fn cancel(&self) {
        if let Some(Ok(link)) = self.link.get() {
            link.session.permits.close();
        }
    }

    /// Bytes that were fetched and sent so far, also those of transfers under way.
    pub fn traffic(&self) -> (u64, u64) {
        match self.link.get() {
            Some(Ok(link)) => {
                (link.session.received.load(Ordering::Relaxed), link.session.sent.load(Ordering::Relaxed))
            }
            _ => (0, 0),
        }
    }

    fn start<T, F>(&self, then: impl FnOnce(Result<T>) + Send + 'static, task: impl FnOnce(Arc<Session>) -> F)
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.link.get_or_init(|| Link::new(&self.settings)) {
            Ok(link) => {
                let task = task(Arc::clone(&link.session));
                link.runtime.spawn(async move { then(task.await) });
            }
            Err(e) => then(Err(e.clone())),
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remote").field(&self.settings).finish()
    }
}

impl Link {
    fn new(settings: &Settings) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("remote")
            .enable_all()
            .build()
            .map_err(|e| Error::environment(format!("can't start threads for the remote store: {e}")))?;
        let session = Session {
            backend: Backend::new(settings)?,
            concurrency: settings.concurrency,
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            damaged: Mutex::default(),
            failures: AtomicU32::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        };
        Ok(Self { session: Arc::new(session), runtime })
    }
}

/// Why something of the remote can't be had.
#[derive(Debug)]
enum Fault {
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
struct Session {
    backend: Backend,
    concurrency: usize,
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
    async fn pull(&self, store: &Arc<Store>, key: Digest, action: &str) -> Result<Pulled> {
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

    async fn try_pull(&self, store: &Arc<Store>, key: Digest, action: &str) -> Result<(Outcome, u64), Fault> {
        let record = self.record(&key).await?;
        let missing = distinct(&record.outcome.files).into_iter().filter(|file| !store.holds(file));
        let bytes = self.all(missing.map(|file| self.download(store, file)).collect()).await?;
        let preimage = self.download_bytes(&record.preimage).await?;
        let preimage = serde_json::from_slice(&preimage).map_err(|e| Fault::Damaged(format!("its preimage: {e}")))?;
        tokio::task::block_in_place(|| store.record(key, action, &record.outcome, &preimage))?;
        Ok((record.outcome, bytes))
    }

    async fn look(&self, key: &Digest) -> Result<Option<Outcome>> {
        let answer = self.record(key).await;
        self.note(&answer);
        match answer {
            Ok(record) => Ok(Some(record.outcome)),
            Err(Fault::Absent | Fault::Damaged(_)) => Ok(None),
            Err(Fault::Failed(e)) => Err(e),
        }
    }

    async fn push(&self, store: &Arc<Store>, key: Digest, anew: bool) -> Result<Pushed> {
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

    fn fault(&self, e: &object_store::Error) -> Fault {
        match e {
            object_store::Error::NotFound { .. } => Fault::Absent,
            e => Fault::Failed(self.backend.error(e)),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::interrupted("stopped on request"))
    }

    /// A fault of a blob that a record names: that it isn't there is damage, too.
    fn fault_of_blob(&self, fault: Fault, digest: &Digest) -> Fault {
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

    fn mark_damaged(&self, digest: Digest) {
        self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(digest);
    }

    fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(digest)
    }

    fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn compare(known: &Record, ours: &Outcome) -> Pushed {
    if known.outcome.artifact == ours.artifact { Pushed::Present } else { Pushed::Differs }
}

/// Each content once: an artifact may hold the same bytes under several names.
fn distinct(files: &[FileEntry]) -> Vec<&FileEntry> {
    let mut seen = HashSet::new();
    files.iter().filter(|file| seen.insert(file.digest)).collect()
}
