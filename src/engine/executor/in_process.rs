//! Actions in threads of the scheduler's process: quick, pure work.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::contract::{Assignment, Cancel, Events, Executor, Site};
use crate::{
    engine::{
        Isolation,
        execute::execute,
        worker::{ActionEvent, Reporter},
    },
    process::threads::{no_thread, panicked},
    store::Store,
};

pub struct InProcess {
    store: Arc<Store>,
    events: Events,
    stop: Arc<AtomicBool>,
}

impl InProcess {
    pub fn open(site: &Site, events: &Events) -> Box<dyn Executor> {
        Box::new(Self { store: Arc::clone(&site.store), events: events.clone(), stop: Arc::default() })
    }
}

impl Executor for InProcess {
    fn takes(&self, isolation: Isolation) -> bool {
        isolation == Isolation::InProcess
    }

    fn start(&mut self, batch: Vec<Assignment>) {
        for Assignment { action, kind, request, .. } in batch {
            let (store, events, stop) = (Arc::clone(&self.store), self.events.clone(), Arc::clone(&self.stop));
            let started = thread::Builder::new().spawn(move || {
                let reporter = Reporter::new(stop, |event| events.send(action, event));
                let done = catch_unwind(AssertUnwindSafe(|| execute(&request, kind, &store, &reporter)))
                    .unwrap_or_else(|payload| Err(panicked(&request.job.action, payload.as_ref())));
                reporter.end(done);
            });
            if let Err(e) = started {
                self.events.send(action, ActionEvent::Failed { error: no_thread(&e) });
            }
        }
    }

    /// A thread can't be ended from outside, so `Now` means no more.
    fn cancel(&mut self, _: Cancel) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
