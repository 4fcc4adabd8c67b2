//! `emopipe pull`: results from the remote store, by hand.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use clap::Args;

use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    cli::{
        cli_command::CliCommand,
        command_result::CommandResult,
        load_plan::{Planned, load_all},
        pipeline_args::PipelineArgs,
        remote_traffic::{Answers, Tally, remote, targets},
        terminal::{hanging, say},
    },
    engine::plan::{Finished, Plan},
    remote::Pulled,
    store::{self, Store},
};

/// Fetch results from the remote store.
#[derive(Args)]
pub struct PullArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Stages or actions to fetch [default: all].
    pub targets: Vec<String>,
}

impl CliCommand for PullArgs {
    const NAME: &'static str = "pull";

    fn execute(&self) -> CommandResult {
        pull(self)
    }
}

/// What is asked for an action: its result, or only the names of its files, which what is made from it is keyed by.
enum Asked {
    Pulled(Result<Pulled>),
    Seen(Result<Option<store::ActionResult>>),
}

fn pull(args: &PullArgs) -> CommandResult {
    let Planned { plan, remote: config, .. } = load_all(&args.pipeline)?;
    let remote = remote(config, &plan.spec.tracked_fs)?;
    let store = Arc::new(args.pipeline.open_store(&plan)?);
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
