//! A running action's progress, on its way to the scheduler.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::action_event::ActionEvent;
use crate::{base::error::Result, engine::Progress, store::ActionResult};

/// Sends progress through a channel or pipe, at most some twenty times a second.
pub struct Reporter<F: Fn(ActionEvent) + Sync> {
    send: F,
    started: Instant,
    stop: Arc<AtomicBool>,
    last: Mutex<Option<Instant>>,
}

const MIN_INTERVAL: Duration = Duration::from_millis(50);

impl<F: Fn(ActionEvent) + Sync> Reporter<F> {
    pub fn new(stop: Arc<AtomicBool>, send: F) -> Self {
        Self { send, started: Instant::now(), stop, last: Mutex::new(None) }
    }

    /// Tells how the action ended.
    pub fn end(&self, done: Result<ActionResult>) {
        (self.send)(match done {
            Ok(result) => ActionEvent::Done { result, seconds: self.started.elapsed().as_secs_f64() },
            Err(error) => ActionEvent::Failed { error },
        });
    }
}

impl<F: Fn(ActionEvent) + Sync> Progress for Reporter<F> {
    fn step(&self, done: u64, total: u64, unit: &str, note: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if done < total && last.is_some_and(|t| t.elapsed() < MIN_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        (self.send)(ActionEvent::Progress { done, total, unit: unit.to_owned(), note: note.to_owned() });
    }

    fn message(&self, text: &str) {
        (self.send)(ActionEvent::Text { text: text.to_owned() });
    }

    fn measure(&self, name: &str, value: f64) {
        (self.send)(ActionEvent::Measured { name: name.to_owned(), value });
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
