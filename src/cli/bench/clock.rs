//! What each training step takes, on the clock and by the device's own.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use candle_core::Device as Opened;

use crate::{
    base::error::Result,
    engine::Progress,
    models::device::{self, Counts, Mark},
};

/// What a step took.
#[derive(Debug, Default)]
pub struct Lap {
    /// On the clock, until the device was done.
    pub seconds: f64,
    /// Of the device, by the training loop's phases.
    pub device: BTreeMap<String, f64>,
    /// Until all work of a phase was given to the device.
    pub enqueued: BTreeMap<String, f64>,
    pub counts: Counts,
}

/// Watches a training.
pub struct Clock {
    device: Opened,
    step: Mutex<Option<Step>>,
    laps: Mutex<Vec<Lap>>,
    measured: Mutex<BTreeMap<String, f64>>,
}

/// The step that is under way.
struct Step {
    begun: Instant,
    counts: Counts,
    /// The end of each phase, after the step's beginning.
    phases: Vec<(String, Instant, Mark)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Step {
    fn begin(device: &Opened) -> Result<Self> {
        let (counts, begun) = (device::counts(), Instant::now());
        Ok(Self { begun, counts, phases: vec![("begin".to_owned(), begun, Mark::new(device)?)] })
    }

    /// The device is done with it.
    fn end(self) -> Result<Lap> {
        let mut lap = Lap { seconds: self.begun.elapsed().as_secs_f64(), ..Lap::default() };
        for pair in self.phases.windows(2) {
            let [(_, from, mark), (phase, to, next)] = pair else { continue };
            *lap.device.entry(phase.clone()).or_default() += mark.seconds_until(next)?;
            *lap.enqueued.entry(phase.clone()).or_default() += (*to - *from).as_secs_f64();
        }
        lap.counts = device::counts().since(self.counts);
        Ok(lap)
    }
}

impl Clock {
    /// A clock for the work that goes to `device`.
    pub fn new(device: &Opened) -> Self {
        Self { device: device.clone(), step: Mutex::default(), laps: Mutex::default(), measured: Mutex::default() }
    }

    /// One lap a training step, in their order.
    pub fn laps(self) -> Vec<Lap> {
        self.laps.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the training loop measured; NaN where it didn't.
    pub fn measured(&self, name: &str) -> f64 {
        lock(&self.measured).get(name).copied().unwrap_or(f64::NAN)
    }
}

// A device that fails now fails in the training's next step, too, which says so.
impl Progress for Clock {
    fn step(&self, _: u64, _: u64, _: &str, _: &str) {
        let _ = self.device.synchronize();
        let mut step = lock(&self.step);
        if let Some(Ok(lap)) = step.take().map(Step::end) {
            lock(&self.laps).push(lap);
        }
        *step = Step::begin(&self.device).ok();
    }

    fn phase(&self, name: &str) {
        let now = Instant::now();
        if let (Some(step), Ok(mark)) = (&mut *lock(&self.step), Mark::new(&self.device)) {
            step.phases.push((name.to_owned(), now, mark));
        }
    }

    fn message(&self, _: &str) {}

    fn measure(&self, name: &str, value: f64) {
        lock(&self.measured).insert(name.to_owned(), value);
    }

    fn stop_requested(&self) -> bool {
        false
    }
}
