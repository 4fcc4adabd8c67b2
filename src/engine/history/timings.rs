//! How long actions took, and how much they wrote.

use std::collections::HashMap;

use super::past_runs::Run;
use crate::{base::error::Result, engine::plan::Plan, store::Store};

/// Runs whose journals tell how long actions take.
const RECENT: usize = 20;

/// How long actions took and how much they wrote.
#[derive(Debug, Default)]
pub struct Timings {
    /// Seconds and bytes of the last time, by pipeline, profile and action.
    actions: HashMap<String, (f64, u64)>,
    /// Of all of these of a stage.
    stages: HashMap<String, Vec<(f64, u64)>>,
}

impl Timings {
    /// From the journals of the last runs.
    ///
    /// # Errors
    /// If the store's runs can't be listed.
    pub fn read(store: &Store) -> Result<Self> {
        let mut timings = Self::default();
        let names = store.runs()?;
        for name in &names[names.len().saturating_sub(RECENT)..] {
            let Ok((run, _)) = Run::of_journal(store, name) else { continue };
            for (action, took) in run.computed {
                let identity = Plan::identity_of(&run.pipeline, run.profile.as_deref(), &action);
                timings.actions.insert(identity, took);
            }
        }
        for (identity, took) in &timings.actions {
            timings.stages.entry(stage(identity).to_owned()).or_default().push(*took);
        }
        for of_stage in timings.stages.values_mut() {
            of_stage.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Ok(timings)
    }

    /// Seconds and bytes that the action of this identity will probably take: those of its last time, or else the median
    /// of its stage. None where nothing is known.
    pub fn estimate(&self, identity: &str) -> Option<(f64, u64)> {
        let median = || self.stages.get(stage(identity)).map(|all| all[all.len() / 2]);
        self.actions.get(identity).copied().or_else(median)
    }
}

/// `pipeline:profile:stage` of an action's identity.
pub fn stage(identity: &str) -> &str {
    identity.split_once('[').map_or(identity, |(stage, _)| stage)
}
