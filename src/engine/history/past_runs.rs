//! Earlier runs, as their journals have them: what each did, and which results were used when.

use std::collections::{BTreeMap, HashMap};

use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    engine::journal::{self, Entry, Event},
    store::Store,
};

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
    ///
    /// # Errors
    /// Where there is no such journal.
    pub(super) fn of_journal(store: &Store, name: &str) -> Result<(Self, Option<String>)> {
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
///
/// # Errors
/// If the store's runs can't be listed.
pub fn runs(store: &Store) -> Result<Vec<Run>> {
    Ok(store.runs()?.iter().filter_map(|name| Run::read(store, name).ok()).collect())
}

/// When each result was last used or made, as the start of that run, in milliseconds since 1970.
///
/// # Errors
/// If the store's runs can't be listed.
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
