//! Walks the plan: results are looked up as soon as inputs are known, and what has none waits for resources.

use std::{path::Path, sync::mpsc::Sender};

use super::{
    admission::Admission,
    error_prose::{beyond_machine, no_longer_in_store, not_as_locked, not_in_store},
    event_log::EventLog,
    lookup::{is_sound, look_up, note_use},
    project_exports::ProjectExports,
    run_context::RunContext,
    run_summary::Tally,
    sharing::Sharing,
    state::States,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    engine::{journal::Event, plan::Finished, worker::ActionEvent},
    remote::{Pulled, Pushed},
    store::{ActionResult, Removed},
};

/// What the scheduler's thread hears of an action.
pub enum Signal {
    Action(ActionEvent),
    Pulled(Result<Pulled>),
    Pushed(Result<Pushed>),
}

pub struct Walk<'a> {
    cx: &'a RunContext<'a>,
    pub states: States<'a>,
    pub admission: Admission,
    pub sharing: Sharing<'a>,
    pub exports: ProjectExports<'a>,
    pub log: EventLog<'a>,
    pub tally: Tally,
    send: Sender<(usize, Signal)>,
}

impl<'a> Walk<'a> {
    /// # Errors
    /// See [`Sharing::new`].
    pub fn new(
        cx: &'a RunContext<'a>,
        exports: ProjectExports<'a>,
        log: EventLog<'a>,
        send: Sender<(usize, Signal)>,
    ) -> Result<Self> {
        Ok(Self {
            cx,
            states: States::new(cx),
            admission: Admission::new(cx.options.limits),
            sharing: Sharing::new(cx)?,
            exports,
            log,
            tally: Tally::default(),
            send,
        })
    }

    /// Looks actions up; a result lets its readers go on, a miss makes it ready.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn inputs_known(&mut self, mut open: Vec<usize>) -> Result<()> {
        while !open.is_empty() {
            let mut next = Vec::new();
            for (i, found) in look_up(self.cx, &self.states, open) {
                if !self.states.is_waiting(i) {
                    continue;
                }
                let Some(found) = found else {
                    self.not_available(i);
                    continue;
                };
                match &found.result {
                    Some(result) if is_sound(self.cx, i, result)? => {
                        note_use(self.cx, &self.states, i, &found)?;
                        next.extend(self.reuse(i, found.key, result));
                    }
                    _ if self.pull(i, found.key) => {}
                    _ => self.not_in_store(i),
                }
            }
            open = next;
        }
        Ok(())
    }

    /// Takes a result that the store had, and returns what can go on.
    fn reuse(&mut self, i: usize, key: Digest, result: &ActionResult) -> Vec<usize> {
        if self.cx.store.is_ambiguous(&key) {
            let text = "not deterministic: several results are known, and the first is used; see `emopipe explain`";
            self.log.emit(Event::Message { action: self.cx.name(i), text: text.to_owned() });
        }
        self.count_reused(i, key, result);
        if self.sharing.is_pending(&key) {
            self.push(i, key);
        }
        self.done(i, key, result)
    }

    fn count_reused(&mut self, i: usize, key: Digest, result: &ActionResult) {
        self.tally.reused += usize::from(self.cx.is_selected(i));
        self.log.emit(Event::Reused { action: self.cx.name(i), key, artifact: result.artifact });
    }

    /// # Errors
    /// See [`Self::inputs_known`].
    pub fn pulled(&mut self, i: usize, answer: Result<Pulled>) -> Result<()> {
        let key = self.states.preimage(i).map(|preimage| preimage.key());
        match self.sharing.pulled(i, key, answer, &mut self.log) {
            Some((key, result)) => {
                self.count_reused(i, key, &result);
                self.settle(i, key, &result)
            }
            None => {
                self.not_in_store(i);
                Ok(())
            }
        }
    }

    pub fn pushed(&mut self, i: usize, answer: Result<Pushed>) {
        let key = self.states.preimage(i).map(|preimage| preimage.key());
        self.sharing.pushed(i, key, answer, &mut self.log);
    }

    fn pull(&mut self, i: usize, key: Digest) -> bool {
        // The receiver outlives every sender; a failed send means that the run is over.
        let send = self.send.clone();
        self.sharing.pull(i, key, move |answer| drop(send.send((i, Signal::Pulled(answer)))))
    }

    pub fn push(&mut self, i: usize, key: Digest) {
        let send = self.send.clone();
        self.sharing.push(i, key, move |answer| drop(send.send((i, Signal::Pushed(answer)))));
    }

    fn not_in_store(&mut self, i: usize) {
        if self.cx.is_selected(i) { self.make_ready(i) } else { self.not_available(i) }
    }

    /// Lets an action wait for its resources.
    pub fn make_ready(&mut self, i: usize) {
        match beyond_machine(self.cx.action(i), self.cx.options.limits.machine) {
            Some(error) => self.fail(i, error, None),
            None => self.admission.offer(i, self.cx.action(i).resolved.resources),
        }
    }

    /// An action outside of the selection has no result: what reads it, directly or through others, can't run.
    fn not_available(&mut self, i: usize) {
        for reader in self.states.leave_out(i) {
            if self.states.is_waiting(reader) {
                let error = not_in_store(&self.cx.action(reader).name, &self.cx.action(i).name);
                self.fail(reader, error, None);
            }
        }
    }

    /// Records a result, and goes on with the actions whose inputs are now all known.
    ///
    /// # Errors
    /// See [`Self::inputs_known`].
    pub fn settle(&mut self, i: usize, key: Digest, result: &ActionResult) -> Result<()> {
        let next = self.done(i, key, result);
        self.inputs_known(next)
    }

    /// Records a result and returns the actions whose inputs are now all known.
    fn done(&mut self, i: usize, key: Digest, result: &ActionResult) -> Vec<usize> {
        let name = &self.cx.action(i).name;
        if let Some(expected) = self.cx.options.expected.get(name).filter(|expected| **expected != result.artifact) {
            self.fail(i, not_as_locked(name, result.artifact, *expected), None);
            return Vec::new();
        }
        let notes = self.cx.plan.notes(i, &key, self.cx.store, |input| self.states.finished(input));
        self.states.set_done(i, key, Finished { artifact: result.artifact, notes });
        match self.exports.place(i, result) {
            Ok(placed) => placed.into_iter().for_each(|event| self.log.emit(event)),
            Err(error) => {
                // The result is safe in the store. What has nothing to do with it goes on where the user wants that.
                self.fail(i, error, None);
                return Vec::new();
            }
        }
        self.states.open_readers(i)
    }

    /// Puts an action back that needs results that are gone, and has those made again. Returns the actions that wait for them.
    pub fn recompute_lost_inputs(&mut self, i: usize, lost: Vec<usize>) -> Vec<usize> {
        self.states.set_waiting(i);
        let mut held = Vec::new();
        for input in lost {
            let Some(key) = self.states.key(input) else { continue };
            let action = self.cx.name(input);
            let text = "its result was damaged or has vanished; it is made again".to_owned();
            self.log.emit(Event::Message { action: action.clone(), text });
            let readers = self.states.lose(input);
            if !self.pull(input, key) {
                if !self.cx.is_selected(input) {
                    self.states.set_out(input);
                    self.fail(i, no_longer_in_store(&self.cx.action(i).name, &action), None);
                    return held;
                }
                self.make_ready(input);
            }
            readers.iter().for_each(|reader| self.admission.withdraw(*reader));
            held.extend(readers);
        }
        held
    }

    /// Gives an action up, and with it all that wait for it. `log` is shown if it has anything.
    pub fn fail(&mut self, i: usize, error: Error, log: Option<&Path>) {
        let name = self.cx.name(i);
        self.states.set_out(i);
        let log = log.filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
        let log = log.map(|path| path.display().to_string());
        self.log.emit(Event::Failed { action: name.clone(), error: error.clone(), log });
        self.tally.failed.push((name.clone(), error));
        for reader in self.states.skip_readers(i) {
            self.tally.skipped += 1;
            self.log.emit(Event::Skipped { action: self.cx.name(reader), because: name.clone() });
        }
    }

    /// Brings the project's exports to an end; `whole` if nothing went wrong.
    pub fn finish_exports(&mut self, whole: bool) {
        match self.exports.finish(whole) {
            Ok(all) => {
                for Removed { folder, files, left } in all {
                    self.log.emit(Event::Removed { folder, files, left });
                }
            }
            Err(error) => self.tally.failed.push(("exports".to_owned(), error)),
        }
    }
}
