//! What the scheduler asks of an executor, and what it hears from it.

use std::{path::PathBuf, sync::Arc};

use crate::{
    engine::{Isolation, StageKind, worker::ActionEvent, worker_request::WorkerRequest},
    store::Store,
};

/// Carries out actions: in this process, in processes of their own, or on another machine. One is opened for each run.
///
/// Whatever becomes of an action is told by [`Events`], whose last one for it is `Done` or `Failed`, exactly once. One that
/// couldn't be started has failed; one that was lost (its process was killed, a queue knows it no more) has failed of its
/// environment, so that it is tried again where the action's `retries` allow that.
pub trait Executor {
    fn takes(&self, isolation: Isolation) -> bool;

    /// Starts actions that the scheduler has resources for, all that it has at this moment.
    fn start(&mut self, batch: Vec<Assignment>);

    /// Looks how things stand, where that isn't told unasked. Called several times a second.
    fn poll(&mut self) {}

    /// Ends all that it has started.
    fn cancel(&mut self, how: Cancel);
}

/// Makes an executor ready for a run.
pub type OpenExecutor = fn(&Site, &Events) -> Box<dyn Executor>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// At the action's next checkpoint.
    Graceful,
    Now,
}

/// An action to be carried out.
pub struct Assignment {
    /// Its place in the plan, under which events tell of it.
    pub action: usize,
    pub kind: &'static dyn StageKind,
    pub request: WorkerRequest,
    /// Places of its GPUs among those of this process.
    pub gpus: Vec<u32>,
    /// Variables of this process's environment that it may have: see [`crate::engine::Resolved::variables`].
    pub variables: Option<Vec<String>>,
    /// A file for what it prints.
    pub log: PathBuf,
}

/// What all actions of a run have in common.
#[derive(Clone)]
pub struct Site {
    pub store: Arc<Store>,
    /// Variables that are added to the environment.
    pub env: Vec<(String, String)>,
    /// Variables that are kept from actions that name none.
    pub withheld: Vec<String>,
}

/// Takes events of actions to the scheduler.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(usize, ActionEvent) + Send + Sync>);

impl Events {
    pub fn new(send: impl Fn(usize, ActionEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    pub fn send(&self, action: usize, event: ActionEvent) {
        (self.0)(action, event);
    }
}
