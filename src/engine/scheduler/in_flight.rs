//! The actions that executors are at.

use std::collections::HashMap;

use crate::{
    base::error::Error,
    engine::{
        executor::{Assignment, Cancel, Events, Executor, OpenExecutor, Site},
        worker::ActionEvent,
        worker_request::WorkerRequest,
    },
};

pub struct InFlight {
    executors: Vec<Box<dyn Executor>>,
    events: Events,
    running: HashMap<usize, WorkerRequest>,
}

impl InFlight {
    pub fn new(executors: &[OpenExecutor], site: &Site, events: Events) -> Self {
        let executors = executors.iter().map(|open| open(site, &events)).collect();
        Self { executors, events, running: HashMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Gives each action to the first executor that takes it, and each executor all of its actions at once.
    pub fn start(&mut self, batch: Vec<Assignment>) {
        let mut shares: Vec<Vec<Assignment>> = self.executors.iter().map(|_| Vec::new()).collect();
        for assignment in batch {
            let Assignment { action, kind, request, .. } = &assignment;
            self.running.insert(*action, request.clone());
            match self.executors.iter().position(|executor| executor.takes(kind.isolation())) {
                Some(place) => shares[place].push(assignment),
                None => {
                    let error = Error::internal(format!("no executor takes {}", request.job.action));
                    self.events.send(*action, ActionEvent::Failed { error });
                }
            }
        }
        for (executor, share) in self.executors.iter_mut().zip(shares) {
            if !share.is_empty() {
                executor.start(share);
            }
        }
    }

    /// Takes out an action that has ended; none where it had before.
    pub fn end(&mut self, action: usize) -> Option<WorkerRequest> {
        self.running.remove(&action)
    }

    pub fn poll(&mut self) {
        self.executors.iter_mut().for_each(|executor| executor.poll());
    }

    pub fn cancel(&mut self, how: Cancel) {
        self.executors.iter_mut().for_each(|executor| executor.cancel(how));
    }
}
