//! The append-only record of a run. Whatever shows or explains a run reads these events and nothing else.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::reasons::Reason;
use crate::base::{
    digest::Digest,
    error::{Error, IoAt, Result},
};

/// Bytes of events of results that were found; all other events are written at once.
const BUFFER: usize = 256 << 10;

/// One line of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub time: u64,
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    pub fn now(event: Event) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Self { time, event }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    RunStarted {
        run: String,
        pipeline: String,
        profile: Option<String>,
        actions: usize,
        emopipe: String,
    },
    /// The result was in the store.
    Reused {
        action: String,
        key: Digest,
        artifact: Digest,
    },
    /// The result of every action was in the store, as in an earlier run, whose journal names them.
    Unchanged {
        since: String,
        results: usize,
    },
    /// A result of so many bytes was fetched from the remote store; `Reused` follows.
    Pulled {
        action: String,
        key: Digest,
        bytes: u64,
    },
    /// A result of so many bytes was sent to the remote store.
    Pushed {
        action: String,
        key: Digest,
        bytes: u64,
    },
    /// The remote store couldn't give or take a result. The run goes on without.
    RemoteFailed {
        action: String,
        error: Error,
    },
    /// Everything is computed; results are still on their way to the remote store.
    Pushing {
        results: usize,
        /// Bytes.
        sent: u64,
    },
    Started {
        action: String,
        key: Digest,
        /// From 1.
        attempt: u32,
        threads: usize,
        reasons: Vec<Reason>,
    },
    /// Waits for another run that computes the same action.
    Waiting {
        action: String,
    },
    /// `done` of `total` units of work.
    Progress {
        action: String,
        done: u64,
        total: u64,
        unit: String,
        note: String,
    },
    Message {
        action: String,
        text: String,
    },
    /// A measured quantity, whose unit is in its name: see [`super::Progress::measure`].
    Measured {
        action: String,
        name: String,
        value: f64,
    },
    /// The result has so many bytes, and took so many seconds where it was computed.
    Finished {
        action: String,
        key: Digest,
        artifact: Digest,
        bytes: u64,
        seconds: f64,
    },
    /// Failed, and is tried again after so many seconds.
    Retrying {
        action: String,
        error: Error,
        in_seconds: f64,
    },
    Failed {
        action: String,
        error: Error,
        log: Option<String>,
    },
    /// Not run, because something it depends on failed.
    Skipped {
        action: String,
        because: String,
    },
    /// Files of a result were placed in the project folder.
    Exported {
        action: String,
        folder: String,
        written: usize,
    },
    /// Files that the pipeline no longer makes were taken out of the project folder.
    Removed {
        folder: String,
        files: Vec<String>,
        /// Those that were edited, and stay.
        left: Vec<String>,
    },
    /// How many actions ended how, and how many seconds the run took.
    RunFinished {
        ran: usize,
        reused: usize,
        failed: usize,
        skipped: usize,
        seconds: f64,
        interrupted: bool,
    },
}

/// Who watches a run.
pub trait Observer {
    fn observe(&mut self, entry: &Entry);
}

/// Writes events to a file as they happen.
pub struct Journal {
    out: BufWriter<File>,
}

impl Journal {
    /// An empty journal.
    ///
    /// # Errors
    /// If the file can't be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).io_at("create the journal", path)?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER, file) })
    }

    /// A journal that can't be written must not stop a run that can: the results matter more.
    pub fn write(&mut self, entry: &Entry) {
        let written = serde_json::to_writer(&mut self.out, entry)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .and_then(|()| if matches!(entry.event, Event::Reused { .. }) { Ok(()) } else { self.out.flush() });
        if let Err(e) = written {
            tracing::warn!("the journal can't be written: {e}");
        }
    }
}

/// All complete lines of a journal; what a crash cut short is left out.
///
/// # Errors
/// If the file can't be opened.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).io_at("read the journal", path)?;
    Ok(BufReader::new(file).lines().map_while(|l| serde_json::from_str(&l.ok()?).ok()).collect())
}
