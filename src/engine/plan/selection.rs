//! Which actions a name, and a part of a plan, stand for.

use std::collections::HashSet;

use super::{dag::Plan, topology::closure};
use crate::{
    base::error::{Error, Result},
    config,
};

/// Which part of a plan to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these stages (or actions); what they need must be in the store.
    pub only: Vec<String>,
    /// These stages (or actions) and what they need.
    pub until: Vec<String>,
    /// Run these even if their result is known.
    pub force: Vec<String>,
}

impl Plan {
    /// The actions that a name stands for: a stage, an action, or a stage with some of its axes.
    ///
    /// # Errors
    /// If it stands for none.
    pub fn matching(&self, name: &str) -> Result<Vec<usize>> {
        let (stage, constraints) = parse_target(name);
        let found: Vec<usize> = (0..self.actions.len())
            .filter(|i| {
                let a = &self.actions[*i];
                a.stage == stage && constraints.iter().all(|(k, v)| a.axes.iter().any(|(ak, av)| ak == k && av == v))
            })
            .collect();
        if found.is_empty() {
            let mut stages: Vec<&str> = self.actions.iter().map(|a| a.stage.as_str()).collect();
            stages.dedup();
            let e = Error::input(format!("no stage or action is called `{name}`"));
            return Err(match config::suggest(stage, stages.iter().copied()) {
                Some(near) if near != stage => e.help(format!("did you mean `{near}`?")),
                _ => e.help(format!("stages: {}", stages.join(", "))),
            });
        }
        Ok(found)
    }

    /// Indices of the selected actions, and of those whose result is to be made again.
    ///
    /// # Errors
    /// If a name stands for none.
    pub fn select(&self, selection: &Selection) -> Result<(HashSet<usize>, HashSet<usize>)> {
        let resolve = |names: &[String]| -> Result<Vec<usize>> {
            let mut out = Vec::new();
            for name in names {
                out.extend(self.matching(name)?);
            }
            Ok(out)
        };
        let mut selected: HashSet<usize> = if !selection.until.is_empty() {
            closure(&self.actions, resolve(&selection.until)?)
        } else {
            (0..self.actions.len()).collect()
        };
        if !selection.only.is_empty() {
            selected = resolve(&selection.only)?.into_iter().collect();
        }
        Ok((selected, resolve(&selection.force)?.into_iter().collect()))
    }
}

/// `stage[axis=value,...]` taken apart.
fn parse_target(name: &str) -> (&str, Vec<(&str, &str)>) {
    match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        Some((stage, axes)) => {
            (stage, axes.split(',').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect())
        }
        None => (name, Vec::new()),
    }
}
