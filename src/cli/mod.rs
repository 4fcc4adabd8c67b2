//! Commands, terminal view, exit codes.

mod accept;
mod args;
mod bench;
mod diff;
mod explain;
mod fit;
mod graph;
mod lock;
mod pin;
mod plan;
mod remote;
mod run;
mod status;
mod tidy;
mod verify;
mod view;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};

use crate::{
    config::{self, Diagnostic, LoadOptions, RemoteConfig, SourceMap},
    engine::{plan::Plan, worker},
    error::{Category, Error, Result},
    stages,
    store::Store,
};
use args::{Cli, Command, PipelineArgs};

/// Why a command ended without success.
enum Failure {
    /// Problems in the pipeline file, rendered.
    Pipeline(String),
    Error(Error),
    /// Actions failed; the view has already said which.
    Actions,
    Interrupted,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        if e.category == Category::Interrupted { Self::Interrupted } else { Self::Error(e) }
    }
}

type Outcome = Result<(), Failure>;

/// Parses the command line and runs it. Exit codes: 0 done, 1 something failed, 2 wrong usage or pipeline, 130 interrupted.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    trace(cli.verbose);
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Pipeline(text)) => {
            eprint!("{text}");
            ExitCode::from(2)
        }
        Err(Failure::Error(e)) => {
            eprintln!("error: {}", e.message);
            if let Some(help) = &e.help {
                eprintln!("  help: {help}");
            }
            ExitCode::from(1)
        }
        Err(Failure::Actions) => ExitCode::from(1),
        Err(Failure::Interrupted) => ExitCode::from(130),
    }
}

fn trace(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = ["warn", "emopipe=info", "emopipe=debug", "debug"][usize::from(verbose.min(3))];
    let filter = EnvFilter::try_from_env("EMOPIPE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn dispatch(cli: Cli) -> Outcome {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Status(args) => status::status(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Graph(args) => graph::graph(&args),
        Command::Pin(args) => pin::pin(&args),
        Command::Clean(args) => tidy::clean(&args),
        Command::Gc(args) => tidy::gc(&args),
        Command::Du(args) => tidy::du(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Lock(args) => lock::lock(&args),
        Command::Accept(args) => accept::accept(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Push(args) => remote::push(&args),
        Command::Pull(args) => remote::pull(&args),
        Command::Schema => {
            let schema = config::json_schema(&stages::vocabulary());
            print(&format!("{}\n", serde_json::to_string_pretty(&schema).map_err(Error::from)?));
            Ok(())
        }
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "emopipe", &mut out);
            print(&String::from_utf8_lossy(&out));
            Ok(())
        }
        Command::Worker => Ok(worker::serve(stages::REGISTRY)?),
    }
}

/// Prints to standard output; a reader that has gone away (`emopipe ... | head`) is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Reads a pipeline and plans it; all problems come back together, rendered.
fn load(args: &PipelineArgs) -> Result<Plan, Failure> {
    Ok(load_all(args)?.plan)
}

/// The folder with files that people fetch by hand: `--data`, EMOPIPE_DATA, or `data` in the pipeline's root.
fn data_folder(args: &PipelineArgs, root: &Path) -> Result<PathBuf> {
    let folder = args.data.clone().unwrap_or_else(|| root.join("data"));
    std::path::absolute(&folder).map_err(|e| Error::io("find", &folder, &e))
}

/// A plan, and what else its files say.
struct Planned {
    plan: Plan,
    /// The texts that diagnostics point into.
    sources: SourceMap,
    /// Names of all profiles of the file.
    profiles: Vec<String>,
    remote: RemoteConfig,
}

/// As [`load`], with all that belongs to the plan.
fn load_all(args: &PipelineArgs) -> Result<Planned, Failure> {
    let options = LoadOptions { profile: args.profile.clone(), set: args.set.clone() };
    let mut loaded = config::load(&args.pipeline, &options, &stages::vocabulary());
    let mut found = loaded.diagnostics;
    if let Some(spec) = &mut loaded.spec {
        let data = data_folder(args, &spec.pipeline.root)?;
        stages::locate(spec, &data);
        let store = args.store.clone().unwrap_or_else(|| spec.pipeline.root.join("cache"));
        spec.surroundings.recall(store.join("memos/files.json"));
        stages::pin(spec)?;
    }
    match loaded.spec.map(|spec| Plan::new(spec, stages::REGISTRY)) {
        Some(Ok(plan)) if found.is_empty() => {
            plan.spec.surroundings.remember();
            let (sources, profiles, remote) = (loaded.sources, loaded.profiles, loaded.remote);
            return Ok(Planned { plan, sources, profiles, remote });
        }
        Some(Err(more)) => {
            for problem in more {
                if !found.iter().any(|p| p.message == problem.message && p.span == problem.span) {
                    found.push(problem);
                }
            }
        }
        _ => {}
    }
    Err(problems(&found, &loaded.sources, &args.pipeline))
}

fn problems(found: &[Diagnostic], sources: &SourceMap, pipeline: &Path) -> Failure {
    let text = config::render_with(found, sources, std::io::stderr().is_terminal());
    let plural = if found.len() == 1 { "" } else { "s" };
    Failure::Pipeline(format!("{text}\n{} problem{plural} in {}\n", found.len(), pipeline.display()))
}

/// The store of a plan: `--store`, EMOPIPE_STORE, or `cache` in the pipeline's root.
fn store_folder(args: &PipelineArgs, plan: &Plan) -> PathBuf {
    args.store.clone().unwrap_or_else(|| plan.spec.pipeline.root.join("cache"))
}

fn open_store(args: &PipelineArgs, plan: &Plan) -> Result<Store> {
    Store::open(&store_folder(args, plan))
}
