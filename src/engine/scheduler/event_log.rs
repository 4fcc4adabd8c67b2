//! Where a run's events go: to its journal, and to whoever watches.

use crate::engine::journal::{Entry, Event, Journal, Observer};

pub struct EventLog<'a> {
    journal: Journal,
    observer: &'a mut dyn Observer,
}

impl<'a> EventLog<'a> {
    pub fn new(journal: Journal, observer: &'a mut dyn Observer) -> Self {
        Self { journal, observer }
    }

    pub fn emit(&mut self, event: Event) {
        let entry = Entry::now(event);
        self.journal.write(&entry);
        self.observer.observe(&entry);
    }
}
