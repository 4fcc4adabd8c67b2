//! What is done about actions that failed of their environment, and about inputs that have gone.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{run_context::RunContext, state::States};

const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Attempts, and actions that are tried again later.
#[derive(Default)]
pub struct Retries {
    attempts: HashMap<usize, u32>,
    delayed: Vec<(Instant, usize)>,
}

impl Retries {
    /// Counts an attempt, from 1.
    pub fn begin(&mut self, i: usize) -> u32 {
        *self.attempts.entry(i).and_modify(|attempts| *attempts += 1).or_insert(1)
    }

    /// Lets an action that failed wait, if it may be tried `retries` times again; for how long.
    pub fn delay(&mut self, i: usize, retries: u32) -> Option<Duration> {
        let attempt = self.attempts.get(&i).copied().unwrap_or(1);
        let wait = FIRST_RETRY * 2u32.pow(attempt.min(6) - 1);
        (attempt <= retries).then(|| {
            self.delayed.push((Instant::now() + wait, i));
            wait
        })
    }

    /// Those that have waited long enough.
    pub fn due(&mut self) -> Vec<usize> {
        let now = Instant::now();
        self.delayed.extract_if(.., |(time, _)| *time <= now).map(|(_, i)| i).collect()
    }

    /// Lets these no longer wait here.
    pub fn withdraw(&mut self, actions: &[usize]) {
        self.delayed.retain(|(_, i)| !actions.contains(i));
    }

    pub fn nothing_waits(&self) -> bool {
        self.delayed.is_empty()
    }
}

/// Inputs whose results have vanished from the store, or were dropped because they had rotted.
pub fn lost_inputs(cx: &RunContext, states: &States, i: usize) -> Vec<usize> {
    let gone = |input: &usize| states.key(*input).is_none_or(|key| cx.store.lookup(&key).is_none());
    cx.plan.inputs(i).filter(gone).collect()
}
