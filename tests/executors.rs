//! The scheduler with executors made for tests: one whose time is made up, and one that is like a batch system.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use emopipe::engine::{Isolation, worker::ActionEvent};
use emopipe::{
    base::{
        error::{Error, IoAt},
        machine::Resources,
    },
    config::{self, Diagnostic, LoadOptions, Node, Vocabulary, load},
    engine::{
        Context, Registry, ResolveContext, Resolved, StageKind, Unwatched,
        execute::execute,
        executor::{Assignment, Cancel, Events, Executor, OpenExecutor, Site},
        journal::{Entry, Event, Observer},
        plan::{Forecast, Plan, Selection},
        scheduler::{self, Grant, Limits, Options, Summary, simulate},
        vocabulary_entry,
    },
    store::Store,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Writes its parameters.
struct Task;

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct TaskTable {
    word: String,
    /// How long it takes, in made-up seconds.
    seconds: u32,
}

impl StageKind for Task {
    fn name(&self) -> &'static str {
        "task"
    }

    fn version(&self) -> u32 {
        1
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<TaskTable>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<TaskTable>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let table: TaskTable = config::from_node(&cx.action.params)?;
        Ok(Resolved { params: json!(table), retries: 1, ..Resolved::default() })
    }

    fn run(&self, cx: &Context) -> emopipe::base::error::Result<()> {
        let path = cx.out.join("task");
        fs::write(&path, cx.job.params.to_string()).io_at("write", &path)
    }
}

static KINDS: Registry = &[&Task];

fn plan(dir: &Path, text: &str) -> Plan {
    let path = dir.join("pipeline.toml");
    fs::write(&path, text).unwrap();
    let vocabulary = Vocabulary { definitions: Vec::new(), stage_kinds: vec![vocabulary_entry(&Task)] };
    let spec = load(&path, &LoadOptions::default(), &vocabulary).spec.unwrap();
    Plan::new(spec, KINDS).unwrap_or_else(|found| panic!("{:?}", found[0].message))
}

/// Names of the events that matter here.
#[derive(Default)]
struct Watcher<'a> {
    retried: Vec<String>,
    /// Counted up when an action has started.
    stop: Option<&'a AtomicUsize>,
}

impl Observer for Watcher<'_> {
    fn observe(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Retrying { action, .. } => self.retried.push(action.clone()),
            Event::Started { .. } => drop(self.stop.map(|stop| stop.store(1, Ordering::Relaxed))),
            _ => {}
        }
    }
}

fn run(
    executor: OpenExecutor,
    (plan, store): (&Plan, &Arc<Store>),
    (selection, limits): (Selection, Limits),
    watcher: &mut Watcher,
) -> Summary {
    let options = Options { selection, limits, ..Options::default() };
    let stop = AtomicUsize::new(0);
    let stop = watcher.stop.unwrap_or(&stop);
    scheduler::run_on(&[executor], plan, store, &options, watcher, stop).unwrap()
}

fn carry_out(site: &Site, events: &Events, assignment: &Assignment) {
    let done = execute(&assignment.request, assignment.kind, &site.store, &Unwatched);
    let event = match done {
        Ok(result) => ActionEvent::Done { result, seconds: 0.0 },
        Err(error) => ActionEvent::Failed { error },
    };
    events.send(assignment.action, event);
}

/// Made-up second, action, threads, GPUs.
type Started = (f64, usize, u32, Vec<u32>);

thread_local! {
    /// When what started, and on what; executors are used by the scheduler's thread alone.
    static STARTS: RefCell<Vec<Started>> = RefCell::default();
    static BATCHES: RefCell<Vec<usize>> = RefCell::default();
    static CANCELLED: RefCell<Vec<Cancel>> = RefCell::default();
}

/// Ends one action whenever it is asked how things stand: the next by its clock.
struct MadeUpTime {
    site: Site,
    events: Events,
    now: f64,
    /// With the second at which they end.
    running: Vec<(f64, Assignment)>,
}

impl MadeUpTime {
    fn open(site: &Site, events: &Events) -> Box<dyn Executor> {
        Box::new(Self { site: site.clone(), events: events.clone(), now: 0.0, running: Vec::new() })
    }
}

impl Executor for MadeUpTime {
    fn takes(&self, isolation: Isolation) -> bool {
        isolation == Isolation::Worker
    }

    fn start(&mut self, batch: Vec<Assignment>) {
        for assignment in batch {
            let job = &assignment.request.job;
            let start = (self.now, assignment.action, job.threads as u32, assignment.gpus.clone());
            STARTS.with_borrow_mut(|starts| starts.push(start));
            self.running.push((self.now + job.params["seconds"].as_f64().unwrap(), assignment));
        }
    }

    fn poll(&mut self) {
        let first = (0..self.running.len()).min_by(|a, b| self.running[*a].0.total_cmp(&self.running[*b].0));
        if let Some(first) = first {
            let (end, assignment) = self.running.remove(first);
            self.now = end;
            carry_out(&self.site, &self.events, &assignment);
        }
    }

    fn cancel(&mut self, _: Cancel) {}
}

/// A stage of a made-up pipeline: inputs among the earlier ones; cores, MiB, GPUs; values of its axis; seconds.
type Made = (Vec<prop::sample::Index>, (u32, u64, u32), usize, u32);

fn made_up() -> impl Strategy<Value = Vec<Made>> {
    let needs = (1u32..4, 1u64..100, 0u32..3);
    let stage = (prop::collection::vec(any::<prop::sample::Index>(), 0..3), needs, 1usize..4, 0u32..6);
    prop::collection::vec(stage, 1..9)
}

fn text(stages: &[Made]) -> String {
    let mut out = "[pipeline]\nname = \"made-up\"\n".to_owned();
    for (i, (inputs, (cores, memory, gpus), values, seconds)) in stages.iter().enumerate() {
        let roles: BTreeSet<usize> = inputs.iter().filter(|_| i > 0).map(|x| x.index(i)).collect();
        let roles: Vec<String> = roles.iter().map(|s| format!("r{s} = \"s{s}\"")).collect();
        let values: Vec<String> = (0..*values).map(|v| format!("\"{v}\"")).collect();
        out += &format!(
            "[stages.s{i}]\nkind = \"task\"\nword = \"s{i} ${{x{i}}}\"\nseconds = {seconds}\n\
             matrix = {{ x{i} = [{}] }}\ninputs = {{ {} }}\n\
             resources = {{ cores = {cores}, memory = \"{memory} MiB\", gpus = {gpus} }}\n",
            values.join(", "),
            roles.join(", ")
        );
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_forecast_starts_what_the_scheduler_starts(
        stages in made_up(),
        machine in (1u32..6, 100u64..250, 2u32..4),
        jobs in prop::option::of(1usize..5),
        some_are_done in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), &text(&stages));
        let store = Arc::new(Store::open(&dir.path().join("cache")).unwrap());
        let (cores, memory, gpus) = machine;
        let limits = Limits { machine: Resources { cores, memory: memory << 20, gpus }, jobs };
        if some_are_done {
            let until = Selection { until: vec!["s0".to_owned()], ..Selection::default() };
            run(MadeUpTime::open, (&plan, &store), (until, limits), &mut Watcher::default());
        }
        let forecasts = plan.forecast(&store, &Default::default());
        let seconds: Vec<f64> =
            plan.actions.iter().map(|action| action.resolved.params["seconds"].as_f64().unwrap()).collect();
        let simulation = simulate(&plan, |i| matches!(forecasts[i], Forecast::Run { .. }), &seconds, limits);
        STARTS.take();
        let summary = run(MadeUpTime::open, (&plan, &store), (Selection::default(), limits), &mut Watcher::default());
        prop_assert!(summary.failed.is_empty());
        prop_assert_eq!(summary.ran + summary.reused, plan.actions.len());
        let starts = |(at, Grant { action, resources, gpus }): (f64, Grant)| (at, action, resources.cores, gpus);
        let foreseen: Vec<_> = simulation.starts.into_iter().map(starts).collect();
        prop_assert_eq!(foreseen.len(), summary.ran);
        prop_assert_eq!(foreseen, STARTS.take());
    }
}

/// Takes batches into a queue, from which a job comes after a while, unless the queue has lost it.
struct Queue {
    site: Site,
    events: Events,
    jobs: Vec<Assignment>,
    polls: usize,
    /// How often each action was submitted.
    submitted: HashMap<usize, u32>,
}

impl Queue {
    fn open(site: &Site, events: &Events) -> Box<dyn Executor> {
        let (site, events) = (site.clone(), events.clone());
        Box::new(Self { site, events, jobs: Vec::new(), polls: 0, submitted: HashMap::new() })
    }
}

impl Executor for Queue {
    fn takes(&self, isolation: Isolation) -> bool {
        isolation == Isolation::Worker
    }

    fn start(&mut self, batch: Vec<Assignment>) {
        BATCHES.with_borrow_mut(|batches| batches.push(batch.len()));
        for assignment in batch {
            *self.submitted.entry(assignment.action).or_default() += 1;
            self.jobs.push(assignment);
        }
    }

    fn poll(&mut self) {
        self.polls += 1;
        if self.polls < 3 {
            return;
        }
        for job in self.jobs.drain(..) {
            if job.request.job.params["word"] == "lost" && self.submitted[&job.action] == 1 {
                let error = Error::environment("the queue knows the job no more");
                self.events.send(job.action, ActionEvent::Failed { error });
            } else {
                carry_out(&self.site, &self.events, &job);
            }
        }
    }

    fn cancel(&mut self, how: Cancel) {
        CANCELLED.with_borrow_mut(|all| all.push(how));
        for job in self.jobs.drain(..) {
            let error = Error::interrupted("taken out of the queue");
            self.events.send(job.action, ActionEvent::Failed { error });
        }
    }
}

/// Three actions that wait for nothing.
fn three(dir: &Path) -> (Plan, Arc<Store>, Limits) {
    let text = "[pipeline]\nname = \"three\"\n[stages.s]\nkind = \"task\"\nword = \"${w}\"\nseconds = 1\n\
                matrix = { w = [\"a\", \"lost\", \"c\"] }\n";
    let store = Arc::new(Store::open(&dir.join("cache")).unwrap());
    let limits = Limits { machine: Resources { cores: 3, memory: 1 << 30, gpus: 0 }, jobs: None };
    (plan(dir, text), store, limits)
}

#[test]
fn a_batch_is_submitted_at_once_and_a_lost_job_again() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, store, limits) = three(dir.path());
    let mut watcher = Watcher::default();
    let summary = run(Queue::open, (&plan, &store), (Selection::default(), limits), &mut watcher);
    assert_eq!((summary.ran, summary.failed.len()), (3, 0));
    assert_eq!(watcher.retried, ["s[w=lost]"]);
    assert_eq!(BATCHES.take(), [3, 1]);
}

#[test]
fn a_stopped_run_takes_its_jobs_out_of_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, store, limits) = three(dir.path());
    let stop = AtomicUsize::new(0);
    let mut watcher = Watcher { stop: Some(&stop), ..Watcher::default() };
    let summary = run(Queue::open, (&plan, &store), (Selection::default(), limits), &mut watcher);
    assert!(summary.interrupted && summary.failed.is_empty());
    assert_eq!((summary.ran, summary.skipped), (0, 3));
    assert_eq!(CANCELLED.take(), [Cancel::Graceful]);
}
