//! The scheduler's thread: starts what may start, and hears what became of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use super::{
    admission::Grant,
    error_prose::{beside_plan, check_fits},
    event_log::EventLog,
    in_flight::InFlight,
    project_exports::ProjectExports,
    recovery::{Retries, lost_inputs},
    run_context::{RunContext, run_name},
    run_options::Options,
    run_summary::Summary,
    walk::{Signal, Walk},
    worker_requests::{VerifiedBlobs, worker_request},
};
use crate::{
    base::{
        digest::Digest,
        error::{Category, Error, Result},
    },
    engine::{
        executor::{self, Assignment, Cancel, Events, OpenExecutor, Site},
        journal::{Event, Journal, Observer},
        plan::Plan,
        worker::ActionEvent,
    },
    store::{ActionResult, Store},
};

/// How often the scheduler looks whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Runs the plan. `stop` counts the user's requests to stop: one ends actions at their next checkpoint, two end them now.
///
/// # Errors
/// Only where nothing could be run at all; failures of actions are in the summary.
pub fn run(
    plan: &Plan,
    store: &Arc<Store>,
    options: &Options,
    observer: &mut dyn Observer,
    stop: &AtomicUsize,
) -> Result<Summary> {
    run_on(executor::REGISTRY, plan, store, options, observer, stop)
}

/// As [`run`], with other executors than the program's.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    executors: &[OpenExecutor],
    plan: &Plan,
    store: &Arc<Store>,
    options: &Options,
    observer: &mut dyn Observer,
    stop: &AtomicUsize,
) -> Result<Summary> {
    let (selected, forced) = plan.select(&options.selection)?;
    let exports = ProjectExports::new(plan, store, options)?;
    let run = run_name();
    let folder = store.run_folder(&run)?;
    let journal = Journal::create(&folder.join("journal.jsonl"))?;
    let cx = RunContext { plan, store, options, selected, forced, run, folder };
    check_fits(&cx)?;
    let (send, receive) = channel();
    // The receiver outlives every sender; a failed send means that the run is over.
    let to_scheduler = send.clone();
    let events = Events::new(move |action, event| drop(to_scheduler.send((action, Signal::Action(event)))));
    let site = Site { store: Arc::clone(store), env: options.env.clone(), withheld: options.withheld.clone() };
    let scheduler = Scheduler {
        cx: &cx,
        walk: Walk::new(&cx, exports, EventLog::new(journal, observer), send)?,
        in_flight: InFlight::new(executors, &site, events),
        retries: Retries::default(),
        verified: VerifiedBlobs::default(),
        stops: 0,
        started: Instant::now(),
    };
    scheduler.event_loop(&receive, stop)
}

struct Scheduler<'a> {
    cx: &'a RunContext<'a>,
    walk: Walk<'a>,
    in_flight: InFlight,
    retries: Retries,
    verified: VerifiedBlobs,
    /// How often the user asked to stop.
    stops: usize,
    started: Instant,
}

impl Scheduler<'_> {
    fn event_loop(mut self, receive: &Receiver<(usize, Signal)>, stop: &AtomicUsize) -> Result<Summary> {
        self.walk.log.emit(Event::RunStarted {
            run: self.cx.run.clone(),
            pipeline: self.cx.plan.spec.pipeline.name.clone(),
            profile: self.cx.plan.spec.profile.clone(),
            actions: self.cx.selected.len(),
            emopipe: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let sources = self.walk.states.sources();
        self.walk.inputs_known(sources)?;
        loop {
            self.on_stop_request(stop.load(Ordering::Relaxed));
            self.start_ready()?;
            self.in_flight.poll();
            if self.is_over() {
                return Ok(self.finish());
            }
            match receive.recv_timeout(TICK) {
                Ok((i, Signal::Action(event))) => self.on_event(i, event)?,
                Ok((i, Signal::Pulled(answer))) => self.walk.pulled(i, answer)?,
                Ok((i, Signal::Pushed(answer))) => self.walk.pushed(i, answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the scheduler lost its channel")),
            }
        }
    }

    /// Whether nothing more is started.
    fn halted(&self) -> bool {
        self.stops > 0 || (!self.walk.tally.failed.is_empty() && !self.cx.options.keep_going)
    }

    fn is_over(&mut self) -> bool {
        let idle =
            self.walk.admission.nothing_waits() && self.retries.nothing_waits() && self.walk.sharing.nothing_comes();
        self.in_flight.is_empty() && (self.halted() || idle) && self.walk.sharing.all_sent(&mut self.walk.log)
    }

    fn on_stop_request(&mut self, asked: usize) {
        if asked == self.stops {
            return;
        }
        let how = if asked > 1 { Cancel::Now } else { Cancel::Graceful };
        self.in_flight.cancel(how);
        self.stops = asked;
        self.walk.sharing.stop(how == Cancel::Now);
    }

    /// Starts all that may start now.
    fn start_ready(&mut self) -> Result<()> {
        if self.halted() {
            return Ok(());
        }
        for i in self.retries.due() {
            self.walk.make_ready(i);
        }
        let mut batch = Vec::new();
        loop {
            let admitted = self.walk.admission.admit();
            if admitted.is_empty() {
                break;
            }
            for grant in admitted {
                batch.extend(self.prepare(grant)?);
            }
        }
        self.in_flight.start(batch);
        Ok(())
    }

    /// An action with all that its executor needs to know; none where inputs have to be made again first.
    fn prepare(&mut self, grant: Grant) -> Result<Option<Assignment>> {
        let i = grant.action;
        let lost = lost_inputs(self.cx, &self.walk.states, i);
        if !lost.is_empty() {
            self.walk.admission.release(i);
            self.recompute(i, lost);
            return Ok(None);
        }
        let threads = grant.resources.cores as usize;
        let request = worker_request(self.cx, &self.walk.states, &self.verified, i, threads)?;
        self.walk.sharing.mark_pending_push(&request.key)?;
        self.walk.log.emit(Event::Started {
            action: request.job.action.clone(),
            key: request.key,
            attempt: self.retries.begin(i),
            threads,
            reasons: request.reasons.clone(),
        });
        self.walk.states.set_running(i);
        let action = self.cx.action(i);
        let (kind, variables) = (action.kind, action.resolved.variables.clone());
        Ok(Some(Assignment { action: i, kind, request, gpus: grant.gpus, variables, log: self.cx.log(i) }))
    }

    fn recompute(&mut self, i: usize, lost: Vec<usize>) {
        let held = self.walk.recompute_lost_inputs(i, lost);
        self.retries.withdraw(&held);
    }

    fn on_event(&mut self, i: usize, event: ActionEvent) -> Result<()> {
        let action = self.cx.name(i);
        match event {
            ActionEvent::Progress { done, total, unit, note } => {
                self.walk.log.emit(Event::Progress { action, done, total, unit, note });
            }
            ActionEvent::Text { text } => self.walk.log.emit(Event::Message { action, text }),
            ActionEvent::Measured { name, value } => self.walk.log.emit(Event::Measured { action, name, value }),
            ActionEvent::Done { result, seconds } => return self.on_done(i, result, seconds),
            ActionEvent::Failed { error } => self.on_failed(i, error),
        }
        Ok(())
    }

    fn on_done(&mut self, i: usize, result: ActionResult, seconds: f64) -> Result<()> {
        let Some(request) = self.in_flight.end(i) else { return Ok(()) };
        self.walk.admission.release(i);
        self.cx.store.refresh()?;
        self.walk.tally.ran += 1;
        self.verified.extend(request.unverified.iter().chain(&result.files));
        let key = request.key;
        let result = if self.cx.options.check { self.compare(i, &key, result) } else { result };
        self.walk.log.emit(Event::Finished {
            action: self.cx.name(i),
            key,
            artifact: result.artifact,
            bytes: result.size(),
            seconds,
        });
        self.walk.push(i, key);
        self.walk.settle(i, key, &result)
    }

    /// Notes where a check gave other bytes than the result in use, which stays in use.
    fn compare(&mut self, i: usize, key: &Digest, again: ActionResult) -> ActionResult {
        let Some(first) = self.cx.store.lookup(key) else { return again };
        if first.artifact != again.artifact {
            let file = first.first_difference(&again).unwrap_or_default().to_owned();
            self.walk.tally.differing.push((self.cx.name(i), file));
        }
        first
    }

    fn on_failed(&mut self, i: usize, error: Error) {
        let Some(request) = self.in_flight.end(i) else { return };
        self.walk.admission.release(i);
        let (action, stopped) = (self.cx.name(i), self.stops > 0);
        let error = beside_plan(error, self.cx.action(i), &request.job.inputs);
        let lost = lost_inputs(self.cx, &self.walk.states, i);
        if !lost.is_empty() && !stopped {
            self.walk.log.emit(Event::Message { action, text: error.message });
            return self.recompute(i, lost);
        }
        let retries = self.cx.action(i).resolved.retries;
        if error.category == Category::Environment
            && !stopped
            && let Some(wait) = self.retries.delay(i, retries)
        {
            self.walk.log.emit(Event::Retrying { action, error, in_seconds: wait.as_secs_f64() });
            self.walk.states.set_waiting(i);
        } else if error.category == Category::Interrupted || stopped {
            self.walk.states.set_waiting(i);
            let text = "stopped; the next run goes on from here".to_owned();
            self.walk.log.emit(Event::Message { action, text });
        } else {
            self.walk.fail(i, error, Some(&self.cx.log(i)));
        }
    }

    fn finish(mut self) -> Summary {
        let interrupted = self.stops > 0;
        self.walk.tally.skipped += self.walk.states.left();
        let whole = !interrupted && self.walk.tally.failed.is_empty() && self.walk.tally.skipped == 0;
        self.walk.finish_exports(whole);
        let remote = self.walk.sharing.summary();
        let only_found = self.walk.tally.ran == 0 && remote.pulled.0 == 0 && self.walk.tally.failed.is_empty();
        let found = (only_found && !interrupted).then(|| self.walk.states.keys()).flatten();
        let tally = std::mem::take(&mut self.walk.tally);
        let summary = Summary {
            run: self.cx.run.clone(),
            ran: tally.ran,
            reused: tally.reused,
            failed: tally.failed,
            skipped: tally.skipped,
            differing: tally.differing,
            interrupted,
            elapsed: self.started.elapsed(),
            remote,
            found,
        };
        self.walk.log.emit(Event::RunFinished {
            ran: summary.ran,
            reused: summary.reused,
            failed: summary.failed.len(),
            skipped: summary.skipped,
            seconds: summary.elapsed.as_secs_f64(),
            interrupted,
        });
        summary
    }
}
