//! What a run has to do with the remote store: results that are fetched, and results that are sent.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{event_log::EventLog, run_context::RunContext, run_summary::RemoteSummary};
use crate::{
    base::{
        digest::Digest,
        error::{Category, Error, Result},
    },
    engine::journal::Event,
    remote::{Pulled, Pushed, Remote},
    store::ActionResult,
};

/// How often the journal hears of results that are still being sent when all else is done.
const PUSHING: Duration = Duration::from_secs(1);
/// How long an interrupted run waits for transfers to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// The remote store's part of a run; nothing happens where there is none.
pub struct Sharing<'a> {
    cx: &'a RunContext<'a>,
    /// Actions whose results matter to this run: the selected ones and what they are made from.
    wanted: HashSet<usize>,
    /// Results of earlier runs that the remote hasn't got yet.
    pending: HashSet<Digest>,
    pulling: HashSet<usize>,
    pushing: HashSet<usize>,
    /// When the journal last heard of what is being sent.
    told: Option<Instant>,
    stopped: Option<Instant>,
    /// Whether the user wants it to end now.
    hurried: bool,
    summary: RemoteSummary,
}

impl<'a> Sharing<'a> {
    /// # Errors
    /// If the store's list of what is still to be sent can't be read.
    pub fn new(cx: &'a RunContext<'a>) -> Result<Self> {
        let mut wanted = HashSet::new();
        let mut open: Vec<usize> = cx.selected.iter().copied().collect();
        while let Some(i) = open.pop() {
            if wanted.insert(i) {
                open.extend(cx.plan.inputs(i));
            }
        }
        Ok(Self {
            cx,
            wanted,
            pending: if push_target(cx).is_some() { cx.store.pending_pushes()? } else { HashSet::new() },
            pulling: HashSet::new(),
            pushing: HashSet::new(),
            told: None,
            stopped: None,
            hurried: false,
            summary: RemoteSummary::default(),
        })
    }

    /// Notes that the result of `key`, which is about to be computed, is to be sent.
    ///
    /// # Errors
    /// If that can't be written down.
    pub fn mark_pending_push(&self, key: &Digest) -> Result<()> {
        if push_target(self.cx).is_some() { self.cx.store.mark_pending_push(key) } else { Ok(()) }
    }

    /// Asks the remote store for a result, where there is one to ask; `then` gets the answer.
    pub fn pull(&mut self, i: usize, key: Digest, then: impl FnOnce(Result<Pulled>) + Send + 'static) -> bool {
        let Some(remote) = self.cx.options.remote.as_ref().filter(|remote| remote.settings().pull) else {
            return false;
        };
        if self.cx.forced.contains(&i) || !self.wanted.contains(&i) || self.stopped.is_some() {
            return false;
        }
        self.pulling.insert(i);
        remote.pull(self.cx.store, key, &self.cx.plan.identity(i), then);
        true
    }

    /// The result that came, if one did.
    pub fn pulled(
        &mut self,
        i: usize,
        key: Option<Digest>,
        answer: Result<Pulled>,
        log: &mut EventLog,
    ) -> Option<(Digest, ActionResult)> {
        self.pulling.remove(&i);
        let action = self.cx.name(i);
        match (answer, key) {
            (Ok(Pulled::Found { result, bytes }), Some(key)) => {
                count(&mut self.summary.pulled, bytes);
                log.emit(Event::Pulled { action, key, bytes });
                return Some((key, result));
            }
            (Ok(Pulled::Damaged(why)), _) => {
                let error = Error::environment(format!("the remote's result is damaged: {why}"));
                log.emit(Event::RemoteFailed { action, error });
            }
            (Err(error), _) if error.category != Category::Interrupted => {
                log.emit(Event::RemoteFailed { action, error });
            }
            _ => {}
        }
        None
    }

    pub fn nothing_comes(&self) -> bool {
        self.pulling.is_empty()
    }

    /// Whether an earlier run has made this result, and couldn't send it.
    pub fn is_pending(&self, key: &Digest) -> bool {
        self.pending.contains(key)
    }

    /// Sends a result, where there is a remote that takes it; `then` gets the answer.
    pub fn push(&mut self, i: usize, key: Digest, then: impl FnOnce(Result<Pushed>) + Send + 'static) {
        let Some(remote) = push_target(self.cx) else { return };
        // What was only vouched for here is nobody else's result.
        if self.cx.store.acceptance(&key).is_some() {
            return;
        }
        self.pushing.insert(i);
        remote.push(self.cx.store, key, false, then);
    }

    /// Notes what became of a result that was sent.
    pub fn pushed(&mut self, i: usize, key: Option<Digest>, answer: Result<Pushed>, log: &mut EventLog) {
        if !self.pushing.remove(&i) {
            return;
        }
        let action = self.cx.name(i);
        let sent = match answer {
            Ok(Pushed::Differs) => Err(Error::environment(
                "the remote has another result for the same inputs and parameters, which stays there",
            )
            .help("one of the two computations isn't reproducible; `emopipe push --force` replaces the remote's")),
            Ok(Pushed::Sent { bytes }) => Ok(Some(bytes)),
            Ok(Pushed::Present) => Ok(None),
            Err(error) => Err(error),
        };
        let settled =
            sent.and_then(|bytes| key.map_or(Ok(()), |key| self.cx.store.clear_pending_push(&key)).map(|()| bytes));
        let error = match (settled, key) {
            (Ok(Some(bytes)), Some(key)) => {
                count(&mut self.summary.pushed, bytes);
                return log.emit(Event::Pushed { action, key, bytes });
            }
            (Ok(_), _) => return,
            (Err(error), _) => error,
        };
        if error.category != Category::Interrupted {
            log.emit(Event::RemoteFailed { action: action.clone(), error: error.clone() });
        }
        self.summary.unpushed.push((action, error));
    }

    /// Lets transfers end; `now` if the user doesn't want to wait for them.
    pub fn stop(&mut self, now: bool) {
        if let Some(remote) = &self.cx.options.remote {
            remote.cancel();
        }
        self.stopped.get_or_insert_with(Instant::now);
        self.hurried |= now;
    }

    /// Whether no result is on its way to the remote store any more. An interrupted run doesn't wait for long.
    pub fn all_sent(&mut self, log: &mut EventLog) -> bool {
        let Some(remote) = &self.cx.options.remote else { return true };
        let results = self.pushing.len();
        if results > 0 && self.stopped.is_some_and(|time| time.elapsed() > GRACE || self.hurried) {
            let mut left: Vec<usize> = self.pushing.drain().collect();
            left.sort_unstable();
            let unpushed = |i: usize| (self.cx.name(i), Error::interrupted("stopped on request"));
            self.summary.unpushed.extend(left.into_iter().map(unpushed));
            return true;
        }
        if results > 0 && self.told.is_none_or(|time| time.elapsed() >= PUSHING) {
            self.told = Some(Instant::now());
            let (_, sent) = remote.traffic();
            log.emit(Event::Pushing { results, sent });
        }
        results == 0
    }

    pub fn summary(&mut self) -> RemoteSummary {
        std::mem::take(&mut self.summary)
    }
}

fn push_target<'a>(cx: &RunContext<'a>) -> Option<&'a Remote> {
    cx.options.remote.as_ref().filter(|remote| remote.settings().push)
}

fn count((results, total): &mut (usize, u64), bytes: u64) {
    (*results, *total) = (*results + 1, *total + bytes);
}
