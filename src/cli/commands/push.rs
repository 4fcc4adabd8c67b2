//! `emopipe push`: results to the remote store, by hand.

use std::{collections::HashSet, sync::Arc};

use clap::Args;

use crate::{
    base::error::Error,
    cli::{
        cli_command::CliCommand,
        command_result::CommandResult,
        load_plan::{Planned, load_all},
        pipeline_args::PipelineArgs,
        remote_traffic::{Answers, Tally, remote, targets},
    },
    engine::plan::Forecast,
    remote::Pushed,
};

/// Send results to the remote store.
#[derive(Args)]
pub struct PushArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Stages or actions to send [default: all].
    pub targets: Vec<String>,
    /// Send again what the remote has already.
    #[arg(long)]
    pub force: bool,
}

impl CliCommand for PushArgs {
    const NAME: &'static str = "push";

    fn execute(&self) -> CommandResult {
        push(self)
    }
}

fn push(args: &PushArgs) -> CommandResult {
    let Planned { plan, remote: config, .. } = load_all(&args.pipeline)?;
    let remote = remote(config, &plan.spec.tracked_fs)?;
    let store = Arc::new(args.pipeline.open_store(&plan)?);
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
