//! `emopipe push` and `emopipe pull`: results to and from the remote store, by hand.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use super::{
    CommandResult, Failure, Planned,
    args::{PullArgs, PushArgs},
    live::Live,
    load_all, open_store, problems,
    terminal::{hanging, print, say},
    view::bytes,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
        tracked_fs::TrackedFs,
    },
    config::{self, RemoteConfig},
    engine::plan::{Finished, Forecast, Plan},
    remote::{Pulled, Pushed, Remote, Settings},
    store::{self, Store},
};

/// What the pipeline says of its remote store, completed by the user's own settings; `None` where neither names a place.
pub fn settings(pipeline: RemoteConfig, tracked_fs: &TrackedFs) -> Result<Option<Settings>, Failure> {
    let user = config::user_config(tracked_fs);
    if !user.diagnostics.is_empty() {
        return Err(problems(&user.diagnostics, &user.sources, &user.path));
    }
    Ok(Settings::new(pipeline.or(user.remote)))
}

fn remote(pipeline: RemoteConfig, tracked_fs: &TrackedFs) -> Result<Remote, Failure> {
    let settings = settings(pipeline, tracked_fs)?.ok_or_else(|| {
        Error::input("no remote store is named").help(
            "add `[remote]` with `url = \"s3://bucket/prefix\"` or a folder to the pipeline file or to \
             emopipe/config.toml in your configuration folder",
        )
    })?;
    Ok(Remote::new(settings))
}

/// The actions that are meant: all where none is named.
fn targets(plan: &Plan, names: &[String]) -> Result<HashSet<usize>> {
    let mut targets = HashSet::new();
    for name in names {
        targets.extend(plan.matching(name)?);
    }
    if names.is_empty() {
        targets.extend(0..plan.actions.len());
    }
    Ok(targets)
}

/// Where results stand, for the last line.
#[derive(Default)]
struct Tally {
    moved: usize,
    bytes: u64,
    there: usize,
    absent: usize,
    failed: usize,
}

impl Tally {
    fn fail(&mut self, action: &str, error: &Error) {
        self.failed += 1;
        say(&format!("{action}: {}", hanging(&error.message)));
        if let Some(help) = &error.help {
            say(&format!("  help: {}", hanging(help)));
        }
    }

    fn end(&self, bar: &Live<String>, moved: &str, there: &str, absent: &str) -> CommandResult {
        bar.close();
        let mut parts = vec![format!("{} results {moved}, {}", self.moved, bytes(self.bytes))];
        for (count, what) in [(self.there, there), (self.absent, absent), (self.failed, "failed")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        print(&format!("{}\n", parts.join("; ")));
        if self.failed > 0 { Err(Failure::Actions) } else { Ok(()) }
    }
}

/// Starts requests and collects their answers, each with the action that it is about.
struct Answers<'a, T> {
    remote: &'a Remote,
    bar: Live<String>,
    send: Sender<(usize, T)>,
    receive: std::sync::mpsc::Receiver<(usize, T)>,
    open: usize,
}

impl<'a, T: Send + 'static> Answers<'a, T> {
    fn new(remote: &'a Remote) -> Self {
        let (send, receive) = channel();
        Self { remote, bar: Live::new(String::new(), |line| vec![line.clone()]), send, receive, open: 0 }
    }

    /// The function that a request about action `i` is to be answered with.
    fn expect(&mut self, i: usize) -> impl FnOnce(T) + Send + use<T> {
        self.open += 1;
        let send = self.send.clone();
        move |answer| drop(send.send((i, answer)))
    }

    /// The next answer; `None` when there is none to wait for.
    fn next(&mut self) -> Option<(usize, T)> {
        while self.open > 0 {
            let (received, sent) = self.remote.traffic();
            *self.bar.state() = format!("{} results under way, {} moved", self.open, bytes(received + sent));
            match self.receive.recv_timeout(Duration::from_millis(200)) {
                Ok(answer) => {
                    self.open -= 1;
                    return Some(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}

pub fn push(args: &PushArgs) -> CommandResult {
    let Planned { plan, remote: config, .. } = load_all(&args.pipeline)?;
    let remote = remote(config, &plan.spec.tracked_fs)?;
    let store = Arc::new(open_store(&args.pipeline, &plan)?);
    let targets = targets(&plan, &args.targets)?;
    let mut tally = Tally::default();
    let mut answers = Answers::new(&remote);
    for (i, forecast) in plan.forecast(&store, &HashSet::new()).iter().enumerate().filter(|(i, _)| targets.contains(i))
    {
        match forecast {
            // What was only vouched for here is nobody else's result.
            Forecast::Cached { key, .. } if store.acceptance(key).is_some() => tally.absent += 1,
            Forecast::Cached { key, .. } => {
                let (then, key) = (answers.expect(i), *key);
                remote.push(&store, key, args.force, move |answer| then((key, answer)));
            }
            Forecast::Run { .. } => tally.absent += 1,
        }
    }
    while let Some((i, (key, answer))) = answers.next() {
        if matches!(answer, Ok(Pushed::Sent { .. } | Pushed::Present)) {
            store.clear_pending_push(&key)?;
        }
        match answer {
            Ok(Pushed::Sent { bytes }) => {
                tally.moved += 1;
                tally.bytes += bytes;
            }
            Ok(Pushed::Present) => tally.there += 1,
            Ok(Pushed::Differs) => {
                let error = Error::environment("the remote has another result for the same inputs and parameters")
                    .help("`emopipe push --force` replaces it");
                tally.fail(&plan.actions[i].name, &error);
            }
            Err(error) => tally.fail(&plan.actions[i].name, &error),
        }
    }
    tally.end(&answers.bar, "sent", "already there", "not computed yet")
}

/// What is asked for an action: its result, or only the names of its files, which what is made from it is keyed by.
enum Asked {
    Pulled(Result<Pulled>),
    Seen(Result<Option<store::ActionResult>>),
}

pub fn pull(args: &PullArgs) -> CommandResult {
    let Planned { plan, remote: config, .. } = load_all(&args.pipeline)?;
    let remote = remote(config, &plan.spec.tracked_fs)?;
    let store = Arc::new(open_store(&args.pipeline, &plan)?);
    let targets = targets(&plan, &args.targets)?;
    let mut fetch = Fetch {
        plan: &plan,
        store: &store,
        targets: &targets,
        known: HashMap::new(),
        tally: Tally::default(),
        answers: Answers::new(&remote),
    };
    for i in 0..plan.actions.len() {
        if plan.inputs(i).next().is_none() {
            fetch.ask(i);
        }
    }
    while let Some((i, answer)) = fetch.answers.next() {
        fetch.answered(i, answer);
    }
    let Fetch { mut tally, answers, .. } = fetch;
    tally.absent = targets.len() - tally.moved - tally.there - tally.failed;
    tally.end(&answers.bar, "fetched", "already here", "not in the remote")
}

struct Fetch<'a> {
    plan: &'a Plan,
    store: &'a Arc<Store>,
    targets: &'a HashSet<usize>,
    /// Artifacts of the actions whose results have been found.
    known: HashMap<usize, Digest>,
    tally: Tally,
    answers: Answers<'a, Asked>,
}

impl Fetch<'_> {
    /// Asks for an action, all of whose inputs are known, and goes on where the store has it already.
    fn ask(&mut self, i: usize) {
        let mut open = vec![i];
        while let Some(i) = open.pop() {
            // A remote has no results that somebody vouched for.
            let finished = |s| Some(Finished { artifact: *self.known.get(&s)?, notes: None });
            let Some(key) = self.plan.key(i, finished) else { continue };
            if let Some(outcome) = self.store.lookup(&key) {
                self.tally.there += usize::from(self.targets.contains(&i));
                open.extend(self.found(i, outcome.artifact));
            } else if self.targets.contains(&i) {
                let then = self.answers.expect(i);
                let action = self.plan.identity(i);
                self.answers.remote.pull(self.store, key, &action, |answer| then(Asked::Pulled(answer)));
            } else {
                let then = self.answers.expect(i);
                self.answers.remote.look(key, |answer| then(Asked::Seen(answer)));
            }
        }
    }

    fn answered(&mut self, i: usize, answer: Asked) {
        let name = &self.plan.actions[i].name;
        let artifact = match answer {
            Asked::Pulled(Ok(Pulled::Found { result: outcome, bytes })) => {
                self.tally.moved += 1;
                self.tally.bytes += bytes;
                outcome.artifact
            }
            Asked::Seen(Ok(Some(outcome))) => outcome.artifact,
            Asked::Pulled(Ok(Pulled::Absent)) | Asked::Seen(Ok(None)) => return,
            Asked::Pulled(Ok(Pulled::Damaged(why))) => {
                let error = Error::environment(format!("the remote's result is damaged: {why}"))
                    .help("`emopipe run` computes it anew and replaces it");
                return self.tally.fail(name, &error);
            }
            Asked::Pulled(Ok(Pulled::GivenUp)) => {
                let error = Error::environment("not tried, since the remote failed several times in a row");
                return self.tally.fail(name, &error);
            }
            Asked::Pulled(Err(error)) => return self.tally.fail(name, &error),
            Asked::Seen(Err(error)) => {
                return say(&format!("{name}: {}", hanging(&error.message)));
            }
        };
        for reader in self.found(i, artifact) {
            self.ask(reader);
        }
    }

    /// Notes an artifact and returns the actions that may now be asked for.
    fn found(&mut self, i: usize, artifact: Digest) -> Vec<usize> {
        self.known.insert(i, artifact);
        let ready = |reader: &usize| self.plan.inputs(*reader).all(|s| self.known.contains_key(&s));
        self.plan.readers(i).filter(ready).collect()
    }
}
