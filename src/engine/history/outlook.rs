//! What a run would take: the scheduler's own decisions, with the seconds of earlier runs.

use std::collections::HashSet;

use super::timings::Timings;
use crate::engine::{
    plan::{Forecast, Plan},
    scheduler::{Limits, simulate},
};

/// What a run of some actions would take.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outlook {
    /// Wall-clock seconds, as far as they are known.
    pub seconds: f64,
    /// Actions that no earlier run tells anything of, and whose time was taken from the amount of their work.
    pub modelled: usize,
    /// Actions of whose time nothing is known.
    pub unknown: usize,
    /// Bytes written to the store, as far as they are known.
    pub disk: u64,
    /// Most bytes of memory that actions reserve at one time.
    pub memory: u64,
}

impl Outlook {
    /// What running the selected actions that have no result would take, each started when the scheduler would. `modelled`
    /// are [`Plan::modelled`]'s seconds.
    pub fn new(
        plan: &Plan,
        forecasts: &[Forecast],
        selected: &HashSet<usize>,
        (earlier, modelled): (&Timings, &[Option<f64>]),
        limits: Limits,
    ) -> Self {
        let mut outlook = Self::default();
        let runs = |i: usize| selected.contains(&i) && matches!(forecasts[i], Forecast::Run { .. });
        let mut seconds = vec![0.0; forecasts.len()];
        for i in (0..forecasts.len()).filter(|i| runs(*i)) {
            match (earlier.estimate(&plan.identity(i)), modelled[i]) {
                (Some((took, bytes)), _) => {
                    seconds[i] = took;
                    outlook.disk += bytes;
                }
                (None, Some(took)) => {
                    seconds[i] = took;
                    outlook.modelled += 1;
                }
                (None, None) => outlook.unknown += 1,
            }
        }
        let simulation = simulate(plan, runs, &seconds, limits);
        Self { seconds: simulation.seconds, memory: simulation.memory, ..outlook }
    }
}
