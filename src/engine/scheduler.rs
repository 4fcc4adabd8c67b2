//! Runs a plan: every action once, as soon as its inputs are known and its resources are free.
//!
//! One thread owns all state; workers and in-process actions send it messages. Nothing here depends on what actions mean.

mod sharing;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{
    Artifact, Estimate, Isolation, Job,
    execute::{Order, Purpose, execute},
    journal::{Entry, Event, Journal, Observer},
    key::Preimage,
    plan::{Action, Finished, Forecast, Plan, Selection},
    reasons::Reason,
    worker::{self, Environment, Handle, Message, Reporter},
};
use crate::base::machine;
use crate::base::machine::Resources;
use crate::{
    base::{
        digest::Digest,
        error::{Category, Error, Result},
        units::bytes,
    },
    config::Spec,
    process::threads::{no_thread, panicked},
    remote::{Pulled, Pushed, Remote},
    store::{ActionResult, Exports, Removed, Store},
};

/// How often the scheduler looks whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Options {
    /// What actions may occupy together.
    pub machine: Resources,
    /// Most actions at once, whatever their resources.
    pub jobs: Option<usize>,
    /// Go on with what doesn't depend on a failed action.
    pub keep_going: bool,
    pub selection: Selection,
    /// Environment of workers, beyond this process's own.
    pub env: Vec<(String, String)>,
    /// Compute what the selection forces in a scratch folder, only to see whether it gives the same bytes. Nothing is placed
    /// in the project.
    pub check: bool,
    /// Artifacts that actions of these names must give, from a lock file.
    pub expected: HashMap<String, Digest>,
    /// Variables of this process's environment that workers don't get.
    pub withheld: Vec<String>,
    /// Where results are also looked for and sent to.
    pub remote: Option<Remote>,
    /// Replace files of the project that are in the way of exports and that emopipe didn't write.
    pub overwrite: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    pub run: String,
    pub ran: usize,
    pub reused: usize,
    pub failed: Vec<(String, Error)>,
    pub skipped: usize,
    /// Actions whose check gave other bytes, and the first file that differs.
    pub differing: Vec<(String, String)>,
    pub interrupted: bool,
    pub elapsed: Duration,
    pub remote: RemoteSummary,
    /// The keys of all actions of the plan, if the store had a result for each.
    pub found: Option<Vec<Digest>>,
}

pub use sharing::RemoteSummary;
use sharing::Sharing;

/// What the scheduler's thread hears of an action.
enum Signal {
    Worker(Message),
    Pulled(Result<Pulled>),
    Pushed(Result<Pushed>),
}

/// Runs the plan. `stop` counts the user's requests to stop: one ends workers at their next checkpoint, two end them now.
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
    let (selected, forced) = plan.select(&options.selection)?;
    let exports = exports(plan, store, options)?;
    let run = run_name();
    let folder = store.run_folder(&run)?;
    let journal = Journal::create(&folder.join("journal.jsonl"))?;
    let (send, receive) = channel();
    let mut scheduler = Scheduler {
        plan,
        store,
        options,
        selected,
        forced,
        run,
        folder,
        journal,
        observer,
        send,
        states: Vec::new(),
        missing: Vec::new(),
        ready: BTreeSet::new(),
        delayed: Vec::new(),
        running: HashMap::new(),
        free: options.machine,
        free_gpus: (0..options.machine.gpus).collect(),
        attempts: HashMap::new(),
        proved: HashSet::new(),
        ran: 0,
        reused: 0,
        failed: Vec::new(),
        skipped: 0,
        differing: Vec::new(),
        stops_seen: 0,
        started: Instant::now(),
        sharing: Sharing::default(),
        exports,
    };
    scheduler.check_fits()?;
    scheduler.prepare_sharing()?;
    scheduler.go(&receive, stop)
}

/// What the plan places in the project; nothing for a check.
fn exports<'a>(plan: &Plan, store: &'a Store, options: &Options) -> Result<Option<Exports<'a>>> {
    if options.check {
        return Ok(None);
    }
    let Spec { pipeline, tracked_fs, .. } = &plan.spec;
    let exports = Exports::new(store, &pipeline.root, tracked_fs.texts(), options.overwrite)?;
    let folders: BTreeSet<&String> = plan.actions.iter().filter_map(|action| action.export.as_ref()).collect();
    for folder in folders {
        exports.check(folder)?;
    }
    Ok(Some(exports))
}

/// `20260131-235959-123-4242`: sorts by time, and two runs at once differ.
pub(super) fn run_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let time = chrono::DateTime::from_timestamp_millis(now).map(|t| t.format("%Y%m%d-%H%M%S-%3f").to_string());
    format!("{}-{}", time.unwrap_or_else(|| now.to_string()), std::process::id())
}

enum State {
    Waiting,
    Running,
    Done {
        key: Digest,
        finished: Finished,
    },
    /// Failed, skipped, or not wanted.
    Out,
}

/// What the store knows of an action.
struct Found {
    key: Digest,
    outcome: Option<ActionResult>,
    /// Whether its name stands for this key already.
    noted: bool,
    /// Whether the result's description is there.
    described: bool,
}

fn finished(states: &[State], i: usize) -> Option<Finished> {
    match &states[i] {
        State::Done { finished, .. } => Some(finished.clone()),
        _ => None,
    }
}

struct Running {
    occupies: Resources,
    gpus: Vec<u32>,
    started: Instant,
    order: Order,
    worker: Option<Handle>,
    /// For an action in this process.
    stop: Arc<AtomicBool>,
}

struct Scheduler<'a> {
    plan: &'a Plan,
    store: &'a Arc<Store>,
    options: &'a Options,
    selected: HashSet<usize>,
    forced: HashSet<usize>,
    run: String,
    folder: PathBuf,
    journal: Journal,
    observer: &'a mut dyn Observer,
    send: Sender<(usize, Signal)>,
    states: Vec<State>,
    /// Inputs of each action that aren't known yet.
    missing: Vec<usize>,
    /// Actions whose inputs are known and whose result isn't.
    ready: BTreeSet<usize>,
    delayed: Vec<(Instant, usize)>,
    running: HashMap<usize, Running>,
    free: Resources,
    free_gpus: BTreeSet<u32>,
    attempts: HashMap<usize, u32>,
    /// Blobs that this run has made, or has compared with their names.
    proved: HashSet<Digest>,
    ran: usize,
    reused: usize,
    failed: Vec<(String, Error)>,
    skipped: usize,
    differing: Vec<(String, String)>,
    stops_seen: usize,
    started: Instant,
    sharing: Sharing,
    exports: Option<Exports<'a>>,
}

impl Scheduler<'_> {
    /// Fails before anything runs where an action that would run can never start on this machine, unless a remote may have
    /// its result.
    fn check_fits(&self) -> Result<()> {
        let mut large: Vec<usize> =
            self.selected.iter().copied().filter(|i| self.beyond_machine(*i).is_some()).collect();
        if large.is_empty() || self.options.remote.as_ref().is_some_and(|remote| remote.settings().pull) {
            return Ok(());
        }
        large.sort_unstable();
        let forecasts = self.plan.forecast(self.store, &self.forced);
        let runs = large.into_iter().find(|i| matches!(forecasts[*i], Forecast::Run { .. }));
        runs.and_then(|i| self.beyond_machine(i)).map_or(Ok(()), Err)
    }

    /// Why an action can never start on this machine.
    fn beyond_machine(&self, i: usize) -> Option<Error> {
        let Action { name, resolved, .. } = &self.plan.actions[i];
        let (needs, machine) = (resolved.resources, self.options.machine);
        if needs.memory > machine.memory {
            let (needs, machine) = (bytes(needs.memory), bytes(machine.memory));
            let help =
                "lower the stage's batch size or `resources.memory`, raise `--memory`, or choose a smaller profile";
            return Some(
                Error::environment(format!("{name} needs {needs} of memory, and {machine} may be used")).help(help),
            );
        }
        (needs.gpus > machine.gpus).then(|| {
            let (needs, machine) = (needs.gpus, machine.gpus);
            Error::environment(format!("{name} needs {needs} GPU(s), and this machine has {machine}"))
                .help("choose a profile for machines without a GPU")
        })
    }

    /// Lets an action wait for its resources.
    fn get_ready(&mut self, i: usize) {
        match self.beyond_machine(i) {
            Some(error) => self.fail(i, error, None),
            None => {
                self.ready.insert(i);
            }
        }
    }

    fn go(&mut self, receive: &Receiver<(usize, Signal)>, stop: &AtomicUsize) -> Result<Summary> {
        self.emit(Event::RunStarted {
            run: self.run.clone(),
            pipeline: self.plan.spec.pipeline.name.clone(),
            profile: self.plan.spec.profile.clone(),
            actions: self.selected.len(),
            emopipe: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let count = self.plan.actions.len();
        self.states = (0..count).map(|_| State::Waiting).collect();
        self.missing = (0..count).map(|i| self.plan.inputs(i).collect::<BTreeSet<_>>().len()).collect();
        self.inputs_known((0..count).filter(|i| self.plan.inputs(*i).next().is_none()).collect())?;
        loop {
            self.heed(stop);
            self.start_what_fits()?;
            let idle = self.ready.is_empty() && self.delayed.is_empty() && self.sharing.pulling.is_empty();
            if self.running.is_empty() && (self.halted() || idle) && self.all_sent() {
                break;
            }
            match receive.recv_timeout(TICK) {
                Ok((i, Signal::Worker(message))) => self.handle(i, message)?,
                Ok((i, Signal::Pulled(answer))) => self.pulled(i, answer)?,
                Ok((i, Signal::Pushed(answer))) => self.pushed(i, answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the scheduler lost its channel")),
            }
        }
        let interrupted = self.stops_seen > 0;
        let left = self
            .states
            .iter()
            .enumerate()
            .filter(|(i, s)| matches!(s, State::Waiting) && self.selected.contains(i))
            .count();
        self.skipped += left;
        self.finish_exports(!interrupted && self.failed.is_empty() && self.skipped == 0);
        let summary = Summary {
            run: self.run.clone(),
            ran: self.ran,
            reused: self.reused,
            failed: std::mem::take(&mut self.failed),
            skipped: self.skipped,
            differing: std::mem::take(&mut self.differing),
            interrupted,
            elapsed: self.started.elapsed(),
            remote: std::mem::take(&mut self.sharing.summary),
            found: self.found(),
        };
        self.emit(Event::RunFinished {
            ran: summary.ran,
            reused: summary.reused,
            failed: summary.failed.len(),
            skipped: summary.skipped,
            seconds: summary.elapsed.as_secs_f64(),
            interrupted,
        });
        Ok(summary)
    }

    /// The keys of all actions, if nothing was computed or fetched, and nothing went wrong.
    fn found(&self) -> Option<Vec<Digest>> {
        let key = |state: &State| match state {
            State::Done { key, .. } => Some(*key),
            _ => None,
        };
        let only_found = self.ran == 0 && self.sharing.summary.pulled.0 == 0 && self.failed.is_empty();
        (only_found && self.stops_seen == 0).then(|| self.states.iter().map(key).collect()).flatten()
    }

    fn halted(&self) -> bool {
        self.stops_seen > 0 || (!self.failed.is_empty() && !self.options.keep_going)
    }

    fn heed(&mut self, stop: &AtomicUsize) {
        let asked = stop.load(Ordering::Relaxed);
        if asked == self.stops_seen {
            return;
        }
        for running in self.running.values() {
            running.stop.store(true, Ordering::Relaxed);
            if let Some(worker) = &running.worker {
                if asked > 1 { worker.kill() } else { worker.stop() }
            }
        }
        self.stops_seen = asked;
        if let Some(remote) = &self.options.remote {
            remote.cancel();
            self.sharing.stopped.get_or_insert_with(Instant::now);
        }
    }

    /// Looks actions up; a result lets its readers go on, a miss makes it ready.
    fn inputs_known(&mut self, mut open: Vec<usize>) -> Result<()> {
        while !open.is_empty() {
            let mut next = Vec::new();
            for (i, found) in self.look_up(open) {
                if !matches!(self.states[i], State::Waiting) {
                    continue;
                }
                let Some(Found { key, outcome, noted, described }) = found else {
                    self.not_available(i);
                    continue;
                };
                match outcome {
                    Some(outcome) if self.is_sound(i, &outcome)? => {
                        if !noted {
                            self.store.note_use(key, &self.plan.identity(i))?;
                        }
                        if !described {
                            self.describe_again(i, &key)?;
                        }
                        self.reused += usize::from(self.selected.contains(&i));
                        let action = self.plan.actions[i].name.clone();
                        if self.store.is_ambiguous(&key) {
                            let text = "not deterministic: several results are known, and the first is used; see \
                                        `emopipe explain`";
                            self.emit(Event::Message { action: action.clone(), text: text.to_owned() });
                        }
                        self.emit(Event::Reused { action, key, artifact: outcome.artifact });
                        self.push_what_is_owed(i, key);
                        next.extend(self.done(i, key, &outcome)?);
                    }
                    _ if self.pull(i, key) => {}
                    _ => self.not_in_store(i),
                }
            }
            open = next;
        }
        Ok(())
    }

    /// Writes the description of a result anew that a repair has taken out.
    fn describe_again(&self, i: usize, key: &Digest) -> Result<()> {
        let Some(preimage) = self.preimage(i) else { return Ok(()) };
        let Action { name, resolved, .. } = &self.plan.actions[i];
        let record =
            serde_json::json!({ "action": name, "preimage": preimage, "unkeyed": resolved.unkeyed, "reasons": [] });
        self.store.write_description(key, &record)
    }

    /// What the store knows of each action, in their order; many are looked up side by side.
    fn look_up(&self, open: Vec<usize>) -> Vec<(usize, Option<Found>)> {
        let (plan, store, states, forced) = (self.plan, self.store, &self.states, &self.forced);
        let one = |i: usize| {
            let key = plan.key(i, |s| finished(states, s));
            let found = key.map(|key| {
                let outcome = if forced.contains(&i) { None } else { store.lookup(&key) };
                let described = outcome.is_none() || store.is_described(&key);
                Found { key, outcome, noted: store.latest_key(&plan.identity(i)) == Some(key), described }
            });
            (i, found)
        };
        super::parallel::map(open, one)
    }

    /// Whether a result that is about to be copied into the project is what its name says; if not, it is dropped.
    fn is_sound(&self, i: usize, outcome: &ActionResult) -> Result<bool> {
        if self.plan.actions[i].export.is_none() {
            return Ok(true);
        }
        let damaged = self.store.damaged(&outcome.files);
        for digest in &damaged {
            self.store.drop_blob(digest)?;
        }
        Ok(damaged.is_empty())
    }

    fn not_in_store(&mut self, i: usize) {
        if self.selected.contains(&i) {
            self.get_ready(i);
        } else {
            self.not_available(i);
        }
    }

    /// An action outside of the selection has no result: what reads it, directly or through others, can't run.
    fn not_available(&mut self, i: usize) {
        let missing = self.plan.actions[i].name.clone();
        let mut open = vec![i];
        while let Some(i) = open.pop() {
            self.states[i] = State::Out;
            for reader in self.plan.readers(i).collect::<Vec<_>>() {
                if !matches!(self.states[reader], State::Waiting) {
                    continue;
                }
                if self.selected.contains(&reader) {
                    let name = &self.plan.actions[reader].name;
                    let error = Error::input(format!("{name} needs {missing}, which isn't in the store"))
                        .help("run without `--only`, or with `--until` instead");
                    self.fail(reader, error, None);
                } else {
                    open.push(reader);
                }
            }
        }
    }

    fn preimage(&self, i: usize) -> Option<Preimage> {
        self.plan.preimage(i, |s| self.finished(s))
    }

    fn finished(&self, i: usize) -> Option<Finished> {
        finished(&self.states, i)
    }

    /// Records a result and returns the actions whose inputs are now all known.
    fn done(&mut self, i: usize, key: Digest, outcome: &ActionResult) -> Result<Vec<usize>> {
        let name = &self.plan.actions[i].name;
        if let Some(expected) = self.options.expected.get(name)
            && *expected != outcome.artifact
        {
            let error = Error::input(format!(
                "{name} gives {}, and the lock file says {}",
                outcome.artifact.short(),
                expected.short()
            ))
            .help("if the change is wanted, run without `--locked`, look at it, and write the file anew with `emopipe lock`");
            self.fail(i, error, None);
            return Ok(Vec::new());
        }
        let notes = self.plan.notes(i, &key, self.store, |s| self.finished(s));
        self.states[i] = State::Done { key, finished: Finished { artifact: outcome.artifact, notes } };
        if let Err(error) = self.place_export(i, outcome) {
            // The result is safe in the store. What has nothing to do with it goes on where the user wants that.
            self.fail(i, error, None);
            return Ok(Vec::new());
        }
        let mut open = Vec::new();
        for reader in self.plan.readers(i).collect::<Vec<_>>() {
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 && matches!(self.states[reader], State::Waiting) {
                open.push(reader);
            }
        }
        Ok(open)
    }

    /// Inputs whose results have vanished from the store, or were dropped because they had rotted.
    fn lost_inputs(&self, i: usize) -> Vec<usize> {
        let gone = |s: &usize| match &self.states[*s] {
            State::Done { key, .. } => self.store.lookup(key).is_none(),
            _ => true,
        };
        self.plan.inputs(i).filter(gone).collect()
    }

    /// Puts an action back that needs results that are gone, and has those made again.
    fn make_again(&mut self, i: usize, lost: Vec<usize>) {
        self.states[i] = State::Waiting;
        for s in lost {
            let State::Done { key, .. } = self.states[s] else { continue };
            let action = self.plan.actions[s].name.clone();
            let text = "its result was damaged or has vanished; it is made again".to_owned();
            self.emit(Event::Message { action: action.clone(), text });
            self.states[s] = State::Waiting;
            if !self.pull(s, key) {
                if !self.selected.contains(&s) {
                    self.states[s] = State::Out;
                    let name = &self.plan.actions[i].name;
                    let error = Error::input(format!("{name} needs {action}, which is no longer in the store"))
                        .help("run without `--only`, or with `--until` instead");
                    return self.fail(i, error, None);
                }
                self.get_ready(s);
            }
            for reader in self.plan.readers(s).collect::<Vec<_>>() {
                self.missing[reader] += 1;
                self.ready.remove(&reader);
                self.delayed.retain(|(_, d)| *d != reader);
            }
        }
    }

    fn place_export(&mut self, i: usize, outcome: &ActionResult) -> Result<()> {
        let action = &self.plan.actions[i];
        let (Some(folder), Some(exports)) = (&action.export, &mut self.exports) else { return Ok(()) };
        let written = exports.place(&self.plan.identity(i), folder, outcome)?;
        let (action, folder) = (action.name.clone(), folder.clone());
        self.emit(Event::Exported { action, folder, written });
        Ok(())
    }

    /// Writes what belongs to emopipe beside the exports. After a run in which nothing went wrong, what the pipeline no longer
    /// makes is taken out of the project.
    fn finish_exports(&mut self, whole: bool) {
        let Some(exports) = self.exports.take() else { return };
        let folder = |(i, action): (usize, &Action)| Some((self.plan.identity(i), action.export.clone()?));
        let planned: BTreeMap<String, String> = self.plan.actions.iter().enumerate().filter_map(folder).collect();
        match exports.finish(&self.plan.owner(), whole.then_some(&planned)) {
            Ok(all) => {
                for Removed { folder, files, left } in all {
                    self.emit(Event::Removed { folder, files, left });
                }
            }
            Err(error) => self.failed.push(("exports".to_owned(), error)),
        }
    }

    fn start_what_fits(&mut self) -> Result<()> {
        if self.halted() {
            return Ok(());
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.delayed).into_iter().partition(|(t, _)| *t <= now);
        self.delayed = later;
        self.ready.extend(Vec::into_iter(due).map(|(_, i)| i));
        let mut next = 0;
        while let Some(&i) = self.ready.range(next..).next() {
            next = i + 1;
            // Whatever runs has a core, so that a full machine needs no look at what may be very many.
            if self.free.cores == 0 || self.options.jobs.is_some_and(|j| self.running.len() >= j.max(1)) {
                break;
            }
            let needs = self.plan.actions[i].resolved.resources;
            let cores = needs.cores.clamp(1, self.options.machine.cores);
            if cores <= self.free.cores && needs.memory <= self.free.memory && needs.gpus <= self.free.gpus {
                self.ready.remove(&i);
                // Cores that nothing else waits for speed this action up; the number of threads never changes its bytes.
                let waiting = match self.options.jobs {
                    Some(jobs) => self.ready.len().min(jobs.saturating_sub(self.running.len() + 1)),
                    None => self.ready.len(),
                };
                let spare = (self.free.cores - cores) / (waiting as u32 + 1);
                self.start(i, Resources { cores: cores + spare, ..needs })?;
            }
        }
        Ok(())
    }

    fn start(&mut self, i: usize, occupies: Resources) -> Result<()> {
        let lost = self.lost_inputs(i);
        if !lost.is_empty() {
            self.make_again(i, lost);
            return Ok(());
        }
        let order = self.order(i, occupies.cores as usize)?;
        self.owe(&order.key)?;
        let attempt = *self.attempts.entry(i).and_modify(|a| *a += 1).or_insert(1);
        self.emit(Event::Started {
            action: order.job.action.clone(),
            key: order.key,
            attempt,
            threads: order.job.threads,
            reasons: order.reasons.clone(),
        });
        self.free.cores -= occupies.cores;
        self.free.memory -= occupies.memory;
        self.free.gpus -= occupies.gpus;
        let gpus: Vec<u32> = self.free_gpus.iter().copied().take(occupies.gpus as usize).collect();
        self.free_gpus.retain(|g| !gpus.contains(g));
        let stop = Arc::new(AtomicBool::new(false));
        let send = self.send.clone();
        let worker = match self.plan.actions[i].kind.isolation() {
            Isolation::Worker => {
                let mut extra = self.options.env.clone();
                extra.push((machine::VISIBLE.to_owned(), machine::share(&gpus, machine::visible_gpus().as_deref())));
                let named = self.plan.actions[i].resolved.variables.as_deref();
                let env = Environment { extra: &extra, named, withheld: &self.options.withheld };
                let log = self.log(i);
                // The receiver outlives every sender; a failed send means that the run is over.
                match worker::spawn(&order, &env, self.folder.join(log), move |m| {
                    drop(send.send((i, Signal::Worker(m))));
                }) {
                    Ok(handle) => Some(handle),
                    Err(error) => {
                        drop(self.send.send((i, Signal::Worker(Message::Failed { error }))));
                        None
                    }
                }
            }
            Isolation::InProcess => {
                let (kind, store, order, stop) =
                    (self.plan.actions[i].kind, Arc::clone(self.store), order.clone(), Arc::clone(&stop));
                let failed = self.send.clone();
                let started = std::thread::Builder::new().spawn(move || {
                    let progress_send = send.clone();
                    let reporter = Reporter::new(stop, move |m| drop(progress_send.send((i, Signal::Worker(m)))));
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        execute(&order, kind, &store, &reporter)
                    }));
                    let message = match result {
                        Ok(Ok(outcome)) => Message::Done { outcome },
                        Ok(Err(error)) => Message::Failed { error },
                        Err(payload) => Message::Failed { error: panicked(&order.job.action, payload.as_ref()) },
                    };
                    drop(send.send((i, Signal::Worker(message))));
                });
                if let Err(e) = started {
                    drop(failed.send((i, Signal::Worker(Message::Failed { error: no_thread(&e) }))));
                }
                None
            }
        };
        self.states[i] = State::Running;
        self.running.insert(i, Running { occupies, gpus, started: Instant::now(), order, worker, stop });
        Ok(())
    }

    fn log(&self, i: usize) -> String {
        let safe: String = self.plan.actions[i]
            .name
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_.=,".contains(c) { c } else { '_' })
            .collect();
        format!("{safe}.log")
    }

    fn order(&self, i: usize, threads: usize) -> Result<Order> {
        let action = &self.plan.actions[i];
        let preimage =
            self.preimage(i).ok_or_else(|| Error::internal(format!("{} started before its inputs", action.name)))?;
        let key = preimage.key();
        let mut inputs: BTreeMap<String, Vec<Artifact>> = BTreeMap::new();
        let mut unproved = Vec::new();
        for (role, sources) in &action.inputs {
            let artifacts = inputs.entry(role.clone()).or_default();
            for &source in sources {
                let outcome = self.result(source)?;
                artifacts.push(Artifact { digest: outcome.artifact, files: self.store.paths(&outcome) });
                unproved.extend(outcome.files.into_iter().filter(|f| !self.proved.contains(&f.digest)));
            }
        }
        let purpose = match (self.forced.contains(&i), self.options.check) {
            (true, true) => Purpose::Check,
            (true, false) => Purpose::Forced,
            (false, _) => Purpose::Missing,
        };
        let reasons = match purpose {
            Purpose::Forced | Purpose::Check => vec![Reason::Forced],
            Purpose::Missing => self.plan.reasons(i, &preimage, self.store),
        };
        let identity = self.plan.identity(i);
        Ok(Order {
            job: Job {
                kind: action.kind.name().to_owned(),
                action: action.name.clone(),
                params: action.resolved.params.clone(),
                unkeyed: action.resolved.unkeyed.clone(),
                private: action.resolved.private.clone(),
                inputs,
                threads,
                memory: action.resolved.resources.memory,
                notes: preimage.notes.clone(),
            },
            key,
            previous: self.store.latest_key(&identity),
            identity,
            preimage,
            reasons,
            run: self.run.clone(),
            makers: self.plan.makers(i),
            store: self.store.root().to_owned(),
            purpose,
            unproved,
            tolerance: action.resolved.tolerance,
        })
    }

    fn result(&self, i: usize) -> Result<ActionResult> {
        let found = match &self.states[i] {
            State::Done { key, .. } => self.store.lookup(key),
            _ => None,
        };
        found.ok_or_else(|| {
            let name = &self.plan.actions[i].name;
            Error::environment(format!("the result of {name} vanished from the store during the run"))
                .help("run again: it will be computed anew")
        })
    }

    fn handle(&mut self, i: usize, message: Message) -> Result<()> {
        let action = self.plan.actions[i].name.clone();
        match message {
            Message::Progress { done, total, unit, note } => {
                self.emit(Event::Progress { action, done, total, unit, note })
            }
            Message::Text { text } => self.emit(Event::Message { action, text }),
            Message::Measured { name, value } => self.emit(Event::Measured { action, name, value }),
            Message::Done { outcome } => {
                let Some(running) = self.release(i) else { return Ok(()) };
                self.store.refresh()?;
                self.ran += 1;
                let order = running.order;
                self.proved.extend(order.unproved.iter().chain(&outcome.files).map(|f| f.digest));
                let outcome = if self.options.check { self.compare(i, &order.key, outcome) } else { outcome };
                self.emit(Event::Finished {
                    action,
                    key: order.key,
                    artifact: outcome.artifact,
                    bytes: outcome.size(),
                    seconds: running.started.elapsed().as_secs_f64(),
                });
                self.push(i, order.key);
                let next = self.done(i, order.key, &outcome)?;
                self.inputs_known(next)?;
            }
            Message::Failed { error } => {
                let Some(running) = self.release(i) else { return Ok(()) };
                let error = match (error.category, &self.plan.actions[i].resolved.memory) {
                    (Category::Memory, Some(estimate)) => {
                        beside_plan(error, estimate.as_ref(), &running.order.job.inputs)
                    }
                    _ => error,
                };
                let lost = self.lost_inputs(i);
                if !lost.is_empty() && self.stops_seen == 0 {
                    self.emit(Event::Message { action, text: error.message });
                    self.make_again(i, lost);
                    return Ok(());
                }
                let attempt = self.attempts.get(&i).copied().unwrap_or(1);
                let may_retry =
                    error.category == Category::Environment && attempt <= self.plan.actions[i].resolved.retries;
                if may_retry && self.stops_seen == 0 {
                    let wait = FIRST_RETRY * 2u32.pow(attempt.min(6) - 1);
                    self.emit(Event::Retrying { action, error, in_seconds: wait.as_secs_f64() });
                    self.states[i] = State::Waiting;
                    self.delayed.push((Instant::now() + wait, i));
                } else if error.category == Category::Interrupted || self.stops_seen > 0 {
                    self.states[i] = State::Waiting;
                    self.emit(Event::Message { action, text: "stopped; the next run goes on from here".to_owned() });
                } else {
                    let log = Some(format!("{}/{}", self.folder.display(), self.log(i)));
                    self.fail(i, error, log);
                }
            }
        }
        Ok(())
    }

    /// Notes where a check gave other bytes than the result in use, which stays in use.
    fn compare(&mut self, i: usize, key: &Digest, again: ActionResult) -> ActionResult {
        let Some(first) = self.store.lookup(key) else { return again };
        if first.artifact != again.artifact {
            let file = first.first_difference(&again).unwrap_or_default().to_owned();
            self.differing.push((self.plan.actions[i].name.clone(), file));
        }
        first
    }

    fn release(&mut self, i: usize) -> Option<Running> {
        let running = self.running.remove(&i)?;
        self.free.cores += running.occupies.cores;
        self.free.memory += running.occupies.memory;
        self.free.gpus += running.occupies.gpus;
        self.free_gpus.extend(&running.gpus);
        Some(running)
    }

    fn fail(&mut self, i: usize, error: Error, log: Option<String>) {
        let name = self.plan.actions[i].name.clone();
        self.states[i] = State::Out;
        let log = log.filter(|l| std::fs::metadata(l).is_ok_and(|m| m.len() > 0));
        self.emit(Event::Failed { action: name.clone(), error: error.clone(), log });
        self.failed.push((name.clone(), error));
        let mut open: Vec<usize> = self.plan.readers(i).collect();
        while let Some(reader) = open.pop() {
            if matches!(self.states[reader], State::Waiting) && self.selected.contains(&reader) {
                self.states[reader] = State::Out;
                self.skipped += 1;
                let action = self.plan.actions[reader].name.clone();
                self.emit(Event::Skipped { action, because: name.clone() });
                open.extend(self.plan.readers(reader));
            }
        }
    }

    fn emit(&mut self, event: Event) {
        let entry = Entry::now(event);
        self.journal.write(&entry);
        self.observer.observe(&entry);
    }
}

/// An error for want of memory, with what the plan foresaw, and with settings that need a quarter less.
fn beside_plan(error: Error, estimate: &dyn Estimate, inputs: &BTreeMap<String, Vec<Artifact>>) -> Error {
    let Ok(footprint) = estimate.footprint(inputs) else { return error };
    let parts: Vec<_> = footprint.parts.iter().map(|(what, n)| format!("{what} {}", bytes(*n))).collect();
    let error = Error {
        message: format!("{}; the plan foresaw {}: {}", error.message, bytes(footprint.total()), parts.join(", ")),
        ..error
    };
    match estimate.remedies(inputs, footprint.total() / 4 * 3).as_slice() {
        [] => error,
        some => error.help(format!("any of these needs a quarter less: {}", some.join("; "))),
    }
}
