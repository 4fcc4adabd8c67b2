//! `emopipe verify`: is every byte of the store what it was, and would the same work give it again?

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    base::{error::Error, units::bytes},
    cli::{
        cli_command::CliCommand,
        command_result::{CommandResult, Failure},
        load_plan::load,
        pipeline_args::PipelineArgs,
        run_view::View,
        signals,
        store_audit::audit,
        terminal::print,
    },
    engine::{
        plan::{Forecast, Plan, Selection},
        scheduler::{self, Limits, Options},
    },
    estimate::feasibility::Machine,
    store::{Audit, Damage, Store},
};

/// Read the whole store and name what has rotted, or compute results again and compare them.
#[derive(Args)]
pub struct VerifyArgs {
    /// A pipeline: its store is read.
    pub pipeline: Option<PathBuf>,
    /// With `--rerun`, only these stages or actions.
    #[arg(requires = "rerun")]
    pub stages: Vec<String>,
    /// Profile to apply [default: the file's default_profile].
    #[arg(short, long)]
    pub profile: Option<String>,
    /// Folder of the store [default: the pipeline's, or `cache`].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder with the files that can't be downloaded, as NAME/FILE [default: `data` in the pipeline's root].
    #[arg(long, env = "EMOPIPE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Drop what is damaged, so that the next run computes it again.
    #[arg(long, conflicts_with = "rerun")]
    pub repair: bool,
    /// Compute the pipeline's finished actions again in scratch folders and compare their bytes.
    #[arg(long)]
    pub rerun: bool,
    /// Only this many of them, drawn at random.
    #[arg(long, value_name = "N", requires = "rerun")]
    pub sample: Option<usize>,
    /// Decides which are drawn.
    #[arg(long, default_value_t = 0, requires = "rerun")]
    pub seed: u64,
}

impl CliCommand for VerifyArgs {
    const NAME: &'static str = "verify";

    fn execute(&self) -> CommandResult {
        verify(self)
    }
}

fn verify(args: &VerifyArgs) -> CommandResult {
    let plan = args.pipeline.as_ref().map(|pipeline| load(&pipeline_args(args, pipeline))).transpose()?;
    let folder = match (&plan, &args.pipeline) {
        (Some(plan), Some(pipeline)) => pipeline_args(args, pipeline).store_folder(&plan.spec.pipeline.root),
        _ => args.store.clone().unwrap_or_else(|| "cache".into()),
    };
    match (&plan, &args.pipeline) {
        (Some(plan), Some(pipeline)) if args.rerun => return rerun(args, &pipeline_args(args, pipeline), plan),
        (None, _) if args.rerun => {
            return Err(Error::input("`--rerun` needs a pipeline whose actions it can run").into());
        }
        _ => {}
    }
    let store = if args.repair { Store::open_alone(&folder)? } else { Store::open_existing_to_read(&folder)? };
    let audit = audit(&store)?;
    print(&report(&audit));
    if audit.damage.is_empty() {
        return Ok(());
    }
    if args.repair {
        let done = store.repair(&audit)?;
        print(&format!(
            "dropped {} blobs, {} descriptions, {} index lines and {} other things; {} results are to be computed again\n",
            done.blobs, done.records, done.lines, done.places, done.results
        ));
        return Ok(());
    }
    Err(Error::environment(format!("the store {} is damaged in {} place(s)", folder.display(), audit.damage.len()))
        .help("`emopipe verify --repair` drops what is damaged, and the next run computes it again")
        .into())
}

fn pipeline_args(args: &VerifyArgs, pipeline: &Path) -> PipelineArgs {
    PipelineArgs {
        pipeline: pipeline.to_owned(),
        profile: args.profile.clone(),
        set: Vec::new(),
        store: args.store.clone(),
        mirror: None,
        data: args.data.clone(),
    }
}

fn report(audit: &Audit) -> String {
    let mut out = String::new();
    for damage in &audit.damage {
        let _ = match damage {
            Damage::Line(number) => writeln!(out, "damaged  index line {number}: what it said is forgotten"),
            Damage::Place { path, problem } => writeln!(out, "damaged  {}: {problem}", path.display()),
            Damage::Record { key, action, problem } => {
                writeln!(out, "damaged  description {} of {action}: {problem}; the result is sound", key.short())
            }
            Damage::Blob { digest, problem, results } => {
                let _ = writeln!(out, "damaged  blob {}: {problem}", digest.short());
                for (key, action) in results {
                    let _ = writeln!(out, "           hits {action} (key {})", key.short());
                }
                if results.is_empty() { writeln!(out, "           hits no result") } else { Ok(()) }
            }
        };
    }
    let _ = writeln!(out, "{} blobs ({}) and {} results read", audit.blobs, bytes(audit.bytes), audit.results);
    out
}

/// Computes finished actions again in scratch folders and compares their bytes with the store's.
fn rerun(args: &VerifyArgs, pipeline: &PipelineArgs, plan: &Plan) -> CommandResult {
    let store = Arc::new(Store::open_existing(&pipeline.store_folder(&plan.spec.pipeline.root))?);
    let forecasts = plan.forecast(&store, &Default::default());
    let mut wanted = Vec::new();
    for target in &args.stages {
        wanted.extend(plan.matching(target)?);
    }
    let finished = |i: &usize| matches!(forecasts[*i], Forecast::Cached { .. });
    let mut chosen: Vec<usize> =
        (0..plan.actions.len()).filter(|i| finished(i) && (args.stages.is_empty() || wanted.contains(i))).collect();
    if let Some(sample) = args.sample {
        chosen.shuffle(&mut ChaCha8Rng::seed_from_u64(args.seed));
        chosen.truncate(sample);
    }
    let names: Vec<String> = chosen.iter().map(|i| plan.actions[*i].name.clone()).collect();
    if names.is_empty() {
        print("no finished action to compute again\n");
        return Ok(());
    }
    let options = Options {
        limits: Limits { machine: Machine::of(plan).resources, jobs: None },
        keep_going: true,
        selection: Selection { only: names.clone(), until: Vec::new(), force: names },
        env: Vec::new(),
        check: true,
        withheld: Vec::new(),
        remote: None,
        overwrite: false,
        expected: Default::default(),
    };
    let stop = signals::listen()?;
    let mut view = View::new(None);
    let summary = scheduler::run(plan, &store, &options, &mut view, &stop)?;
    view.finish(&summary, &[]);
    let mut out = String::new();
    for (action, file) in &summary.differing {
        let _ = writeln!(
            out,
            "not deterministic  {action}: `{file}` differs; both results are kept, the first stays in use"
        );
    }
    let same = summary.ran - summary.differing.len();
    let _ = writeln!(out, "{same} of {} actions gave the same bytes again", summary.ran);
    print(&out);
    match (summary.interrupted, summary.failed.is_empty() && summary.differing.is_empty()) {
        (true, _) => Err(Failure::Interrupted),
        (false, true) => Ok(()),
        (false, false) => Err(Failure::Actions),
    }
}
