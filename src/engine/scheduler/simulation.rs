//! What a run would do, with seconds that are given instead of taken.

use std::collections::BTreeSet;

use super::admission::{Admission, Grant, Limits};
use crate::{base::machine::Resources, engine::plan::Plan};

/// The starts of a run, in order, and when all has ended.
#[derive(Debug, Default, PartialEq)]
pub struct Simulation {
    /// Seconds since the beginning, and what the action got.
    pub starts: Vec<(f64, Grant)>,
    /// Wall-clock seconds of the whole.
    pub seconds: f64,
    /// Most bytes of memory that actions need at one time.
    pub memory: u64,
}

/// Starts the actions that `runs` names as the scheduler would if each took its `seconds`.
pub fn simulate(plan: &Plan, runs: impl Fn(usize) -> bool, seconds: &[f64], limits: Limits) -> Simulation {
    let mut admission = Admission::new(limits);
    let inputs = |i: usize| plan.inputs(i).filter(|input| runs(*input)).collect::<BTreeSet<_>>().len();
    let mut missing: Vec<usize> = (0..plan.actions.len()).map(inputs).collect();
    let needs = |i: usize| plan.actions[i].resolved.resources;
    // What fits nowhere is the scheduler's to report.
    let possible = |needs: Resources| Resources {
        memory: needs.memory.min(limits.machine.memory),
        gpus: needs.gpus.min(limits.machine.gpus),
        ..needs
    };
    let mut simulation = Simulation::default();
    // With the second at which they end, in the order of their starts.
    let mut running: Vec<(f64, usize)> = Vec::new();
    (0..plan.actions.len())
        .filter(|i| runs(*i) && missing[*i] == 0)
        .for_each(|i| admission.offer(i, possible(needs(i))));
    loop {
        for grant in admission.admit() {
            running.push((simulation.seconds + seconds[grant.action], grant.action));
            simulation.starts.push((simulation.seconds, grant));
        }
        let reserved = running.iter().map(|(_, i)| needs(*i).memory).sum();
        simulation.memory = simulation.memory.max(reserved);
        // Of several that end at one time, the one that started first.
        let first = (0..running.len()).min_by(|a, b| running[*a].0.total_cmp(&running[*b].0));
        let Some(first) = first else { return simulation };
        let (end, ended) = running.remove(first);
        simulation.seconds = end;
        admission.release(ended);
        for reader in plan.readers(ended).filter(|reader| runs(*reader)) {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                admission.offer(reader, possible(needs(reader)));
            }
        }
    }
}
