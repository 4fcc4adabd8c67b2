//! What is known of each action of a run.

use super::run_context::RunContext;
use crate::{
    base::digest::Digest,
    engine::{
        key::Preimage,
        plan::{Finished, Plan},
    },
};

enum State {
    Waiting,
    Running,
    Done {
        key: Digest,
        finished: Finished,
    },
    /// Failed, skipped, or not wanted.
    Out,
}

/// The state of every action, and how it moves along the plan's edges.
pub struct States<'a> {
    cx: &'a RunContext<'a>,
    states: Vec<State>,
    /// Inputs of each action that aren't known yet.
    missing: Vec<usize>,
}

impl<'a> States<'a> {
    pub fn new(cx: &'a RunContext<'a>) -> Self {
        let missing = missing_inputs(cx.plan);
        Self { cx, states: missing.iter().map(|_| State::Waiting).collect(), missing }
    }

    /// Actions that read nothing.
    pub fn sources(&self) -> Vec<usize> {
        (0..self.missing.len()).filter(|i| self.missing[*i] == 0).collect()
    }

    pub fn is_waiting(&self, i: usize) -> bool {
        matches!(self.states[i], State::Waiting)
    }

    /// The key under which the action's result was found or made.
    pub fn key(&self, i: usize) -> Option<Digest> {
        match &self.states[i] {
            State::Done { key, .. } => Some(*key),
            _ => None,
        }
    }

    pub fn finished(&self, i: usize) -> Option<Finished> {
        match &self.states[i] {
            State::Done { finished, .. } => Some(finished.clone()),
            _ => None,
        }
    }

    /// The action's description, where all its inputs are known.
    pub fn preimage(&self, i: usize) -> Option<Preimage> {
        self.cx.plan.preimage(i, |input| self.finished(input))
    }

    pub fn set_waiting(&mut self, i: usize) {
        self.states[i] = State::Waiting;
    }

    pub fn set_running(&mut self, i: usize) {
        self.states[i] = State::Running;
    }

    pub fn set_done(&mut self, i: usize, key: Digest, finished: Finished) {
        self.states[i] = State::Done { key, finished };
    }

    pub fn set_out(&mut self, i: usize) {
        self.states[i] = State::Out;
    }

    /// Counts a known input of each reader; those whose inputs are now all known.
    pub fn open_readers(&mut self, i: usize) -> Vec<usize> {
        let mut open = Vec::new();
        for reader in self.cx.plan.readers(i) {
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 && self.is_waiting(reader) {
                open.push(reader);
            }
        }
        open
    }

    /// Lets an action wait whose result is gone, and with it its readers, which are returned.
    pub fn lose(&mut self, i: usize) -> Vec<usize> {
        self.set_waiting(i);
        let readers: Vec<usize> = self.cx.plan.readers(i).collect();
        readers.iter().for_each(|reader| self.missing[*reader] += 1);
        readers
    }

    /// Takes out all selected actions that wait for `i`, directly or through others, and returns them.
    pub fn skip_readers(&mut self, i: usize) -> Vec<usize> {
        let (plan, mut skipped) = (self.cx.plan, Vec::new());
        let mut open: Vec<usize> = plan.readers(i).collect();
        while let Some(reader) = open.pop() {
            if self.is_waiting(reader) && self.cx.is_selected(reader) {
                self.set_out(reader);
                skipped.push(reader);
                open.extend(plan.readers(reader));
            }
        }
        skipped
    }

    /// Takes out an action outside of the selection, and all such that read it. Returns the selected ones that would.
    pub fn leave_out(&mut self, i: usize) -> Vec<usize> {
        let (mut open, mut stranded) = (vec![i], Vec::new());
        while let Some(i) = open.pop() {
            self.set_out(i);
            let waiting = self.cx.plan.readers(i).filter(|reader| self.is_waiting(*reader));
            let (selected, others): (Vec<_>, Vec<_>) = waiting.partition(|reader| self.cx.is_selected(*reader));
            stranded.extend(selected);
            open.extend(others);
        }
        stranded
    }

    /// How many of the selected actions nothing was done about.
    pub fn left(&self) -> usize {
        (0..self.states.len()).filter(|i| self.is_waiting(*i) && self.cx.is_selected(*i)).count()
    }

    /// The keys of all actions, where all are done.
    pub fn keys(&self) -> Option<Vec<Digest>> {
        (0..self.states.len()).map(|i| self.key(i)).collect()
    }
}

fn missing_inputs(plan: &Plan) -> Vec<usize> {
    let mut missing = vec![0; plan.actions.len()];
    for i in 0..plan.actions.len() {
        plan.readers(i).for_each(|reader| missing[reader] += 1);
    }
    missing
}
