//! A run that a memo stands in for.

use std::{
    fs::File,
    time::{Instant, SystemTime},
};

use super::witness::{Export, Memo};
use crate::{
    base::error::{IoAt, Result},
    engine::{
        journal::{Entry, Event, Journal, Observer},
        scheduler::{RemoteSummary, Summary, run_name},
    },
    store::Lease,
};

impl Memo {
    /// Writes the journal of a run that found everything.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn replay(&self, store: &Lease, started: Instant, observer: &mut dyn Observer) -> Result<Summary> {
        // That journal stays in the store at least as long as this one: collections go by when files changed.
        let journal = store.run_folder(&self.run)?.join("journal.jsonl");
        File::options()
            .append(true)
            .open(&journal)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .io_at("mark as used", &journal)?;
        let run = run_name();
        let mut journal = Journal::create(&store.run_folder(&run)?.join("journal.jsonl"))?;
        let mut emit = |event| {
            let entry = Entry::now(event);
            journal.write(&entry);
            observer.observe(&entry);
        };
        emit(Event::RunStarted {
            run: run.clone(),
            pipeline: self.pipeline.clone(),
            profile: self.profile.clone(),
            actions: self.results,
            emopipe: env!("CARGO_PKG_VERSION").to_owned(),
        });
        emit(Event::Unchanged { since: self.run.clone(), results: self.results });
        for Export { action, folder, .. } in &self.exports {
            emit(Event::Exported { action: action.clone(), folder: folder.clone(), written: 0 });
        }
        let summary = Summary {
            run,
            ran: 0,
            reused: self.results,
            failed: Vec::new(),
            skipped: 0,
            differing: Vec::new(),
            interrupted: false,
            elapsed: started.elapsed(),
            remote: RemoteSummary::default(),
            found: None,
        };
        emit(summary.event());
        Ok(summary)
    }
}
