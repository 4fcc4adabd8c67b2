//! What a run would do with each action, and why.

use std::collections::HashSet;

use super::{
    action::{Finished, Notes},
    dag::Plan,
};
use crate::{
    base::digest::Digest,
    engine::{
        key::Preimage,
        reasons::{Reason, differences, differences_but_inputs},
    },
    store::{ActionResult, Store},
};

/// What would happen to an action if the pipeline ran now.
#[derive(Debug, Clone)]
pub enum Forecast {
    Cached {
        key: Digest,
        result: ActionResult,
        notes: Notes,
    },
    /// `preimage` where all inputs are known.
    Run {
        reasons: Vec<Reason>,
        preimage: Option<Preimage>,
    },
}

impl Forecast {
    fn finished(&self) -> Option<Finished> {
        match self {
            Self::Cached { result, notes, .. } => Some(Finished { artifact: result.artifact, notes: notes.clone() }),
            Self::Run { .. } => None,
        }
    }
}

impl Plan {
    /// What a run would do with each action, in the order of `actions`.
    pub fn forecast(&self, store: &Store, forced: &HashSet<usize>) -> Vec<Forecast> {
        let mut forecasts: Vec<Forecast> = Vec::with_capacity(self.actions.len());
        for i in 0..self.actions.len() {
            let finished = |s: usize| forecasts[s].finished();
            let key = self.key(i, finished);
            let found = key.and_then(|key| Some((key, store.lookup(&key)?)));
            let forecast = match (found, key) {
                (Some((key, result)), _) if !forced.contains(&i) => {
                    let notes = self.notes(i, &key, store, finished);
                    Forecast::Cached { key, result, notes }
                }
                (found, Some(_)) => {
                    let preimage = self.preimage(i, finished);
                    let reasons = match &preimage {
                        Some(preimage) if found.is_none() => self.reasons(i, preimage, store),
                        _ => vec![Reason::Forced],
                    };
                    Forecast::Run { reasons, preimage }
                }
                (_, None) => Forecast::Run { reasons: self.pending_reasons(i, store, finished), preimage: None },
            };
            forecasts.push(forecast);
        }
        forecasts
    }

    /// Why an action whose key has no result runs.
    pub fn reasons(&self, i: usize, preimage: &Preimage, store: &Store) -> Vec<Reason> {
        let Some(old) = self.earlier(i, store) else { return vec![Reason::New] };
        let found = differences(&old, preimage);
        if found.is_empty() { vec![Reason::ResultMissing] } else { found }
    }

    fn pending_reasons(&self, i: usize, store: &Store, finished: impl Fn(usize) -> Option<Finished>) -> Vec<Reason> {
        let mut reasons = match self.earlier(i, store) {
            None => vec![Reason::New],
            Some(old) => differences_but_inputs(&old, &self.description(i)),
        };
        for (role, sources) in &self.actions[i].inputs {
            if let Some(first) = sources.iter().find(|s| finished(**s).is_none()) {
                reasons.push(Reason::InputPending { role: role.clone(), action: self.actions[*first].name.clone() });
            }
        }
        reasons
    }

    fn earlier(&self, i: usize, store: &Store) -> Option<Preimage> {
        let key = store.latest_key(&self.identity(i))?;
        Preimage::of_record(&store.preimage(&key)?)
    }
}
