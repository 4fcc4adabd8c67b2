//! Waiting for others without keeping the user waiting: whatever may block runs on a thread of its own.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::watch::{Watch, check_stop};
use crate::base::error::{Error, Result};

/// How soon a request to stop is noticed.
const GLANCE: Duration = Duration::from_millis(100);
const BLOCK: usize = 128 << 10;
/// Blocks that may wait to be written.
const AHEAD: usize = 4;

/// What `work` gives, unless the user asks to stop before that. The work itself can't be stopped: its thread ends when it does.
///
/// # Errors
/// Where the user asks to stop, no thread can be started, or the work panics.
pub(super) fn unless_stopped<T: Send + 'static>(
    watch: &dyn Watch,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let answers = on_a_thread(1, move |send| drop(send.send(work())))?;
    next(&answers, watch)?.ok_or_else(|| Error::internal("a thread that waits for the network panicked"))
}

/// The bytes of a reader, block by block.
pub(super) struct Blocks(Receiver<io::Result<Vec<u8>>>);

impl Blocks {
    /// Begins to read ahead.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn of(mut from: impl Read + Send + 'static) -> Result<Self> {
        on_a_thread(AHEAD, move |send| {
            loop {
                let mut block = vec![0; BLOCK];
                let read = from.read(&mut block).map(|n| {
                    block.truncate(n);
                    block
                });
                let last = !matches!(&read, Ok(block) if !block.is_empty());
                if send.send(read).is_err() || last {
                    return;
                }
            }
        })
        .map(Self)
    }

    /// The next block; an empty one is the end.
    ///
    /// # Errors
    /// Outside, that the user asked to stop; inside, why nothing more can be read.
    pub fn next(&mut self, watch: &dyn Watch) -> Result<io::Result<Vec<u8>>> {
        Ok(next(&self.0, watch)?.unwrap_or_else(|| Err(io::Error::other("reading broke off"))))
    }
}

fn on_a_thread<T: Send + 'static>(
    ahead: usize,
    work: impl FnOnce(SyncSender<T>) + Send + 'static,
) -> Result<Receiver<T>> {
    let (send, answers) = sync_channel(ahead);
    thread::Builder::new()
        .name("network".to_owned())
        .spawn(move || work(send))
        .map_err(|e| Error::environment(format!("can't start a thread: {e}")))?;
    Ok(answers)
}

/// None where the other side is gone.
fn next<T>(answers: &Receiver<T>, watch: &dyn Watch) -> Result<Option<T>> {
    loop {
        check_stop(watch)?;
        match answers.recv_timeout(GLANCE) {
            Ok(answer) => return Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}
