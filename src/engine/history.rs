//! What the journals of earlier runs tell: which results were used and when, how long actions took, what a run did.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    journal::{self, Entry, Event},
    plan::{Forecast, Plan},
};
use crate::base::machine::Resources;
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    store::Store,
};

/// Runs whose journals tell how long actions take.
const RECENT: usize = 20;

/// One run, as its journal has it.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub name: String,
    /// Milliseconds since 1970.
    pub started: u64,
    pub pipeline: String,
    pub profile: Option<String>,
    /// Key and artifact of each action that was computed or found.
    pub results: BTreeMap<String, (Digest, Digest)>,
    /// Seconds and bytes of each action that was computed.
    pub computed: BTreeMap<String, (f64, u64)>,
    /// `RunFinished`; none where it is under way or was killed.
    pub end: Option<Event>,
}

impl Run {
    /// # Errors
    /// Where there is no such journal.
    pub fn read(store: &Store, name: &str) -> Result<Self> {
        let (mut run, since) = Self::of_journal(store, name)?;
        if let Some(since) = since {
            run.results = Self::of_journal(store, &since)?.0.results;
        }
        Ok(run)
    }

    /// What its own journal has, and the run whose results it found again, if it says so instead of naming them.
    fn of_journal(store: &Store, name: &str) -> Result<(Self, Option<String>)> {
        let mut run = Self { name: name.to_owned(), ..Self::default() };
        let mut unchanged = None;
        for entry in journal::read(&store.root().join("runs").join(name).join("journal.jsonl"))? {
            match entry.event {
                Event::Unchanged { since, .. } => unchanged = Some(since),
                _ => run.add(entry),
            }
        }
        Ok((run, unchanged))
    }

    fn add(&mut self, entry: Entry) {
        match entry.event {
            Event::RunStarted { pipeline, profile, .. } => {
                self.started = entry.time;
                self.pipeline = pipeline;
                self.profile = profile;
            }
            Event::Reused { action, key, artifact } => {
                self.results.insert(action, (key, artifact));
            }
            Event::Finished { action, key, artifact, bytes, seconds } => {
                self.computed.insert(action.clone(), (seconds, bytes));
                self.results.insert(action, (key, artifact));
            }
            end @ Event::RunFinished { .. } => self.end = Some(end),
            _ => {}
        }
    }

    /// The run that `name` means: a name, the beginning of one, `last`, or `last~N` for the Nth before it.
    ///
    /// # Errors
    /// Where it means none or several.
    pub fn find(store: &Store, name: &str) -> Result<Self> {
        let all = store.runs()?;
        let steps = match name.strip_prefix("last") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|n| n.parse::<usize>().ok()),
            None => None,
        };
        let found: Vec<&String> = match steps {
            Some(n) => all.iter().rev().skip(n).take(1).collect(),
            None => all.iter().filter(|r| r.starts_with(name)).collect(),
        };
        match found[..] {
            [one] => Self::read(store, one),
            [] => Err(Error::input(format!("no run is called `{name}`")).help("`emopipe status --all` lists the runs")),
            _ => Err(Error::input(format!("`{name}` is the beginning of {} runs", found.len()))
                .help("`emopipe status --all` lists the runs")),
        }
    }
}

/// All runs, oldest first. A journal that can't be read is left out.
pub fn runs(store: &Store) -> Result<Vec<Run>> {
    Ok(store.runs()?.iter().filter_map(|name| Run::read(store, name).ok()).collect())
}

/// When each result was last used or made, as the start of that run, in milliseconds since 1970.
pub fn last_used(store: &Store) -> Result<HashMap<Digest, u64>> {
    let mut used = HashMap::new();
    for run in runs(store)? {
        for (key, _) in run.results.values() {
            let time = used.entry(*key).or_insert(0);
            *time = run.started.max(*time);
        }
    }
    Ok(used)
}

/// How long actions took and how much they wrote.
#[derive(Debug, Default)]
pub struct Timings {
    /// Seconds and bytes of the last time, by pipeline, profile and action.
    actions: HashMap<String, (f64, u64)>,
    /// Of all of these of a stage.
    stages: HashMap<String, Vec<(f64, u64)>>,
}

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

impl Timings {
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

    /// What running the selected actions that have no result would take on this machine, each started as soon as the
    /// scheduler would. `modelled` are [`Plan::modelled`]'s seconds.
    pub fn outlook(
        &self,
        plan: &Plan,
        forecasts: &[Forecast],
        modelled: &[Option<f64>],
        selected: &HashSet<usize>,
        machine: Resources,
    ) -> Outlook {
        let mut outlook = Outlook::default();
        let runs = |i: &usize| selected.contains(i) && matches!(forecasts[*i], Forecast::Run { .. });
        let to_run: Vec<usize> = (0..forecasts.len()).filter(runs).collect();
        let mut seconds = vec![0.0; forecasts.len()];
        for &i in &to_run {
            match (self.estimate(&plan.identity(i)), modelled[i]) {
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
        let mut missing: Vec<usize> =
            (0..forecasts.len()).map(|i| plan.inputs(i).filter(runs).collect::<HashSet<_>>().len()).collect();
        let mut ready: BTreeSet<usize> = to_run.into_iter().filter(|i| missing[*i] == 0).collect();
        let cores = |i: usize| plan.actions[i].resolved.resources.cores.clamp(1, machine.cores.max(1));
        let left = |free: Resources, i: usize| {
            let needs = plan.actions[i].resolved.resources;
            Resources {
                cores: free.cores.saturating_sub(cores(i)),
                memory: free.memory.saturating_sub(needs.memory),
                gpus: free.gpus.saturating_sub(needs.gpus),
            }
        };
        // With the second at which they end.
        let mut running: Vec<(f64, usize)> = Vec::new();
        let mut free = machine;
        let mut now: f64 = 0.0;
        loop {
            let mut next = 0;
            while let Some(&i) = ready.range(next..).next().filter(|_| free.cores > 0 || running.is_empty()) {
                next = i + 1;
                let needs = plan.actions[i].resolved.resources;
                let fits = cores(i) <= free.cores && needs.memory <= free.memory && needs.gpus <= free.gpus;
                // What fits nowhere is the scheduler's to report.
                if fits || running.is_empty() {
                    ready.remove(&i);
                    free = left(free, i);
                    running.push((now + seconds[i], i));
                }
            }
            let reserved: u64 = running.iter().map(|(_, i)| plan.actions[*i].resolved.resources.memory).sum();
            outlook.memory = outlook.memory.max(reserved);
            let Some(first) = running.iter().map(|(end, _)| *end).min_by(f64::total_cmp) else { break };
            now = first;
            let (ended, still): (Vec<_>, Vec<_>) = running.into_iter().partition(|(end, _)| *end <= now);
            running = still;
            free = running.iter().fold(machine, |free, (_, i)| left(free, *i));
            for (_, i) in ended {
                for reader in plan.readers(i).filter(|i| runs(i)) {
                    missing[reader] -= 1;
                    if missing[reader] == 0 {
                        ready.insert(reader);
                    }
                }
            }
        }
        outlook.seconds = now;
        outlook
    }
}

/// `pipeline:profile:stage` of an action's identity.
pub fn stage(identity: &str) -> &str {
    identity.split_once('[').map_or(identity, |(stage, _)| stage)
}
