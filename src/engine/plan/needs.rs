//! What the actions that would run need: memory, time, and what people have to put in place.

use std::collections::{BTreeMap, HashSet};

use super::{dag::Plan, forecast::Forecast};
use crate::{
    config::Diagnostic,
    engine::{Artifact, Footprint, Resolved},
    store::Store,
};

impl Plan {
    /// What has to be there before the selected actions can run, and isn't.
    pub fn missing(&self, selected: &HashSet<usize>, forced: &HashSet<usize>, store: &Store) -> Vec<Diagnostic> {
        let lacking = |i: &usize| selected.contains(i) && !self.actions[*i].resolved.missing.is_empty();
        let lacking: Vec<usize> = (0..self.actions.len()).filter(lacking).collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let forecasts = self.forecast(store, forced);
        let to_run = lacking.into_iter().filter(|i| matches!(forecasts[*i], Forecast::Run { .. }));
        let mut seen = HashSet::new();
        to_run
            .flat_map(|i| &self.actions[i].resolved.missing)
            .filter(|found| seen.insert((&found.message, found.span)))
            .cloned()
            .collect()
    }

    /// The artifacts of an action's inputs that are in the store, by role.
    pub fn known_inputs(&self, i: usize, forecasts: &[Forecast], store: &Store) -> BTreeMap<String, Vec<Artifact>> {
        let known = |s: &usize| match &forecasts[*s] {
            Forecast::Cached { result, .. } => Some(Artifact { digest: result.artifact, files: store.paths(result) }),
            Forecast::Run { .. } => None,
        };
        let of_role = |sources: &Vec<usize>| sources.iter().filter_map(known).collect();
        self.actions[i].inputs.iter().map(|(role, sources)| (role.clone(), of_role(sources))).collect()
    }

    /// What the actions that would run will hold in memory, where that can be told.
    pub fn footprints(&self, forecasts: &[Forecast], store: &Store) -> Vec<Option<Footprint>> {
        let footprint = |(i, forecast): (usize, &Forecast)| {
            let estimate = self.actions[i].resolved.memory.as_ref()?;
            match forecast {
                Forecast::Cached { .. } => None,
                // What can't be read now is reported by the action that reads it.
                Forecast::Run { .. } => estimate.footprint(&self.known_inputs(i, forecasts, store)).ok(),
            }
        };
        forecasts.iter().enumerate().map(footprint).collect()
    }

    /// Seconds that the actions that would run take by the amount of their work, where that can be told.
    pub fn modelled(&self, forecasts: &[Forecast], store: &Store) -> Vec<Option<f64>> {
        let seconds = |(i, forecast): (usize, &Forecast)| {
            let Resolved { time, resources, .. } = &self.actions[i].resolved;
            match forecast {
                Forecast::Cached { .. } => None,
                Forecast::Run { .. } => {
                    time.as_ref()?.seconds(&self.known_inputs(i, forecasts, store), resources.cores).ok()
                }
            }
        };
        forecasts.iter().enumerate().map(seconds).collect()
    }

    /// Lets actions on this machine's processors occupy what their footprints say, unless the file says otherwise.
    pub fn occupy(&mut self, footprints: &[Option<Footprint>]) {
        for (action, footprint) in self.actions.iter_mut().zip(footprints) {
            if let Some(footprint) = footprint
                && footprint.device.is_cpu()
                && !action.memory_is_set
            {
                action.resolved.resources.memory = footprint.total();
            }
        }
    }
}
