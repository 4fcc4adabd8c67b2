//! What the scheduler and the remote store have to say to each other.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{Scheduler, Signal};
use crate::{
    base::{
        digest::Digest,
        error::{Category, Error, Result},
    },
    engine::journal::Event,
    remote::{Pulled, Pushed},
};

/// How often the journal hears of results that are still being sent when all else is done.
const PUSHING: Duration = Duration::from_secs(1);
/// How long an interrupted run waits for transfers to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// What a run had to do with its remote store.
#[derive(Debug, Default)]
pub struct RemoteSummary {
    /// Results, all of which count as reused, and bytes.
    pub pulled: (usize, u64),
    pub pushed: (usize, u64),
    /// What the remote hasn't got, and why.
    pub unpushed: Vec<(String, Error)>,
}

/// The remote store's part of a run.
#[derive(Default)]
pub(super) struct Sharing {
    /// Actions whose results matter to this run: the selected ones and what they are made from.
    wanted: HashSet<usize>,
    /// Results of earlier runs that the remote hasn't got yet.
    owed: HashSet<Digest>,
    pub(super) pulling: HashSet<usize>,
    pushing: HashSet<usize>,
    told: Option<Instant>,
    pub(super) stopped: Option<Instant>,
    pub(super) summary: RemoteSummary,
}

impl Scheduler<'_> {
    pub(super) fn prepare_sharing(&mut self) -> Result<()> {
        let mut open: Vec<usize> = self.selected.iter().copied().collect();
        while let Some(i) = open.pop() {
            if self.sharing.wanted.insert(i) {
                open.extend(self.plan.inputs(i));
            }
        }
        if self.pushes() {
            self.sharing.owed = self.store.pending_pushes()?;
        }
        Ok(())
    }

    fn pushes(&self) -> bool {
        self.options.remote.as_ref().is_some_and(|remote| remote.settings().push)
    }

    /// Notes that the result of `key`, which is about to be computed, is to be sent.
    pub(super) fn owe(&self, key: &Digest) -> Result<()> {
        if self.pushes() { self.store.mark_pending_push(key) } else { Ok(()) }
    }

    pub(super) fn push_what_is_owed(&mut self, i: usize, key: Digest) {
        if self.sharing.owed.contains(&key) {
            self.push(i, key);
        }
    }

    /// Asks the remote store for a result, where there is one to ask; the answer is a signal.
    pub(super) fn pull(&mut self, i: usize, key: Digest) -> bool {
        let Some(remote) = self.options.remote.as_ref().filter(|r| r.settings().pull) else { return false };
        if self.forced.contains(&i) || !self.sharing.wanted.contains(&i) || self.stops_seen > 0 {
            return false;
        }
        self.sharing.pulling.insert(i);
        let send = self.send.clone();
        let then = move |answer| drop(send.send((i, Signal::Pulled(answer))));
        remote.pull(self.store, key, &self.plan.identity(i), then);
        true
    }

    pub(super) fn pulled(&mut self, i: usize, answer: Result<Pulled>) -> Result<()> {
        self.sharing.pulling.remove(&i);
        let action = self.plan.actions[i].name.clone();
        let key = self.preimage(i).map(|preimage| preimage.key());
        match (answer, key) {
            (Ok(Pulled::Found { result: outcome, bytes }), Some(key)) => {
                self.reused += usize::from(self.selected.contains(&i));
                let (results, total) = &mut self.sharing.summary.pulled;
                (*results, *total) = (*results + 1, *total + bytes);
                self.emit(Event::Pulled { action: action.clone(), key, bytes });
                self.emit(Event::Reused { action, key, artifact: outcome.artifact });
                let next = self.done(i, key, &outcome)?;
                return self.inputs_known(next);
            }
            (Ok(Pulled::Damaged(why)), _) => {
                let error = Error::environment(format!("the remote's result is damaged: {why}"));
                self.emit(Event::RemoteFailed { action, error });
            }
            (Err(error), _) if error.category != Category::Interrupted => {
                self.emit(Event::RemoteFailed { action, error });
            }
            _ => {}
        }
        self.not_in_store(i);
        Ok(())
    }

    pub(super) fn push(&mut self, i: usize, key: Digest) {
        let Some(remote) = self.options.remote.as_ref().filter(|r| r.settings().push) else { return };
        // What was only vouched for here is nobody else's result.
        if self.store.acceptance(&key).is_some() {
            return;
        }
        self.sharing.pushing.insert(i);
        let send = self.send.clone();
        remote.push(self.store, key, false, move |answer| drop(send.send((i, Signal::Pushed(answer)))));
    }

    pub(super) fn pushed(&mut self, i: usize, answer: Result<Pushed>) {
        if !self.sharing.pushing.remove(&i) {
            return;
        }
        let action = self.plan.actions[i].name.clone();
        let key = self.preimage(i).map(|preimage| preimage.key());
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
            sent.and_then(|bytes| key.map_or(Ok(()), |key| self.store.clear_pending_push(&key)).map(|()| bytes));
        let error = match (settled, key) {
            (Ok(Some(bytes)), Some(key)) => {
                let (results, total) = &mut self.sharing.summary.pushed;
                (*results, *total) = (*results + 1, *total + bytes);
                return self.emit(Event::Pushed { action, key, bytes });
            }
            (Ok(_), _) => return,
            (Err(error), _) => error,
        };
        if error.category != Category::Interrupted {
            self.emit(Event::RemoteFailed { action: action.clone(), error: error.clone() });
        }
        self.sharing.summary.unpushed.push((action, error));
    }

    /// Whether no result is on its way to the remote store any more. An interrupted run doesn't wait for long.
    pub(super) fn all_sent(&mut self) -> bool {
        let Some(remote) = &self.options.remote else { return true };
        let results = self.sharing.pushing.len();
        if results > 0 && self.sharing.stopped.is_some_and(|t| t.elapsed() > GRACE || self.stops_seen > 1) {
            let mut left: Vec<usize> = self.sharing.pushing.drain().collect();
            left.sort_unstable();
            let name = |i: usize| (self.plan.actions[i].name.clone(), Error::interrupted("stopped on request"));
            self.sharing.summary.unpushed.extend(left.into_iter().map(name));
            return true;
        }
        if results > 0 && self.sharing.told.is_none_or(|t| t.elapsed() >= PUSHING) {
            self.sharing.told = Some(Instant::now());
            let (_, sent) = remote.traffic();
            self.emit(Event::Pushing { results, sent });
        }
        results == 0
    }
}
