//! `emopipe clean`: forgets results, so that the next run computes them again.

use std::collections::HashSet;

use clap::Args;

use crate::{
    cli::{
        cli_command::CliCommand, command_result::CommandResult, load_plan::load, pipeline_args::PipelineArgs,
        terminal::print,
    },
    engine::plan::Forecast,
    store::Store,
};

/// Forget results, so that the next run computes them again.
#[derive(Args)]
pub struct CleanArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Stages or actions to forget [default: all].
    pub targets: Vec<String>,
}

impl CliCommand for CleanArgs {
    const NAME: &'static str = "clean";

    fn execute(&self) -> CommandResult {
        clean(self)
    }
}

fn clean(args: &CleanArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let folder = args.pipeline.store_folder(&plan.spec.pipeline.root);
    if !folder.exists() {
        print("0 results forgotten: there is no store yet\n");
        return Ok(());
    }
    let store = Store::open_existing(&folder)?;
    let mut targets: HashSet<usize> = HashSet::new();
    for target in &args.targets {
        targets.extend(plan.matching(target)?);
    }
    let mut forgotten = 0;
    for (i, forecast) in plan.forecast(&store, &HashSet::new()).iter().enumerate() {
        if let Forecast::Cached { key, .. } = forecast
            && (args.targets.is_empty() || targets.contains(&i))
        {
            store.forget(key)?;
            forgotten += 1;
        }
    }
    print(&format!("{forgotten} results forgotten; `emopipe gc` frees their space\n"));
    Ok(())
}
