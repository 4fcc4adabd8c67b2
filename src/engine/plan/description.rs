//! An action's description, whose hash is its key.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    action::{Finished, Notes},
    dag::Plan,
};
use crate::{
    base::digest::Digest,
    engine::key::{Parts, Preimage},
    store::Store,
};

/// Artifacts of an action's inputs.
type ByRole = BTreeMap<String, Vec<Digest>>;

impl Plan {
    /// The description of an action whose inputs have these results; none where it isn't complete yet.
    pub fn preimage(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<Preimage> {
        let (inputs, notes) = self.inputs_of(i, finished)?;
        Some(Preimage { inputs, notes, ..self.description(i) })
    }

    /// The key of that description, without making it.
    pub fn key(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<Digest> {
        let (inputs, notes) = self.inputs_of(i, finished)?;
        let action = &self.actions[i];
        let parts = Parts {
            inputs: &inputs,
            kind: action.kind.name(),
            notes: &notes,
            numerics: action.resolved.numerics.as_deref(),
            params: &action.resolved.params,
            version: action.kind.version(),
        };
        Some(parts.key())
    }

    /// Artifacts by role, and what was vouched for behind them if the kind shows it. None where an input isn't known.
    fn inputs_of(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<(ByRole, Vec<String>)> {
        let action = &self.actions[i];
        if action.resolved.keyless {
            return None;
        }
        let mut inputs = ByRole::new();
        let mut notes = BTreeSet::new();
        for (role, sources) in &action.inputs {
            let mut digests = Vec::with_capacity(sources.len());
            for source in sources {
                let source = finished(*source)?;
                digests.push(source.artifact);
                if action.kind.shows_notes() {
                    notes.extend(source.notes.iter().flat_map(|n| n.iter().cloned()));
                }
            }
            inputs.insert(role.clone(), digests);
        }
        Some((inputs, notes.into_iter().collect()))
    }

    /// What is known of an action's description before its inputs are.
    pub(super) fn description(&self, i: usize) -> Preimage {
        let action = &self.actions[i];
        Preimage {
            kind: action.kind.name().to_owned(),
            version: action.kind.version(),
            params: action.resolved.params.clone(),
            inputs: BTreeMap::new(),
            numerics: action.resolved.numerics.clone(),
            notes: Vec::new(),
        }
    }

    /// What readers of an action must pass on: what was vouched for before it, and for itself.
    pub fn notes(&self, i: usize, key: &Digest, store: &Store, finished: impl Fn(usize) -> Option<Finished>) -> Notes {
        let mut behind = self.inputs(i).filter_map(|s| finished(s)?.notes);
        let own = store.acceptance(key).map(|a| format!("{} was not computed anew: {}", self.actions[i].name, a.note));
        let first = behind.next();
        if own.is_none() && first.is_none() {
            return None;
        }
        let all = first.into_iter().chain(behind).flat_map(|n| n.iter().cloned().collect::<Vec<_>>()).chain(own);
        Some(Arc::new(all.collect()))
    }
}
