//! Commands, terminal view, exit codes.

mod accept;
mod args;
mod bench;
mod diff;
mod explain;
mod feasibility;
mod graph;
mod live;
mod lock;
mod manual;
mod pin;
mod plan;
mod remote;
mod run;
mod scores;
mod status;
mod terminal;
mod tidy;
mod verify;
mod view;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use crate::{
    base::{
        error::{Category, Error, Result},
        visible::visible_line,
    },
    config::{self, Diagnostic, LoadOptions, RemoteConfig, SourceMap},
    engine::{plan::Plan, worker},
    process, stages,
    store::Store,
};
use args::{Cli, Command, PipelineArgs};
use terminal::{hanging, print};

/// Problems of a pipeline that are shown; the others may be gone when these are.
const PROBLEMS_SHOWN: usize = 20;

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

type CommandResult = Result<(), Failure>;

/// Parses the command line and runs it. Exit codes: 0 done, 1 something failed (also what was to be printed and couldn't be),
/// 2 wrong usage or pipeline, 130 interrupted.
pub fn main() -> ExitCode {
    let code = match Cli::try_parse() {
        Ok(cli) => {
            terminal::adopt(log_filter(cli.verbose));
            ended(dispatch(cli))
        }
        Err(usage) => usage_or_help(&usage),
    };
    match terminal::lost_output() {
        Some(error) => {
            error.iter().for_each(complain);
            if code == 0 { ExitCode::from(1) } else { ExitCode::from(code) }
        }
        None => ExitCode::from(code),
    }
}

/// Says how a command ended, where it didn't end well; the exit code.
fn ended(outcome: CommandResult) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(Failure::Pipeline(text)) => {
            terminal::say_painted(&text);
            2
        }
        Err(Failure::Error(e)) => {
            complain(&e);
            1
        }
        Err(Failure::Actions) => 1,
        Err(Failure::Interrupted) => 130,
    }
}

/// Says what went wrong and what to do.
fn complain(error: &Error) {
    terminal::say(&format!("error: {}", hanging(&error.message)));
    if let Some(help) = &error.help {
        terminal::say(&format!("  help: {}", hanging(help)));
    }
}

/// What the command line's parser says: help and version where they belong, mistakes without what they could do to a terminal.
fn usage_or_help(said: &clap::Error) -> u8 {
    let text = said.render();
    match said.use_stderr() {
        true => terminal::say(text.to_string().trim_end_matches('\n')),
        false if terminal::colours(&std::io::stdout()) => terminal::print_verbatim(&text.ansi().to_string()),
        false => terminal::print_verbatim(&text.to_string()),
    }
    u8::try_from(said.exit_code()).unwrap_or(2)
}

/// Whether there is such a command line, without doing what it says.
///
/// # Errors
/// What is wrong with it.
pub fn check<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    Cli::try_parse_from(arguments).map(drop).map_err(|e| e.to_string())
}

fn log_filter(verbose: u8) -> EnvFilter {
    let default = ["warn", "emopipe=info", "emopipe=debug", "debug"][usize::from(verbose.min(3))];
    EnvFilter::try_from_env("EMOPIPE_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

fn dispatch(cli: Cli) -> CommandResult {
    if !matches!(
        cli.command,
        Command::Worker | Command::Supervise | Command::Completions { .. } | Command::Schema | Command::Reference(_)
    ) {
        process::threads::prepare()?;
    }
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
            terminal::print_verbatim(&String::from_utf8_lossy(&out));
            Ok(())
        }
        Command::Reference(args) => manual::reference(&args),
        Command::Worker => Ok(worker::serve(stages::REGISTRY)?),
        Command::Supervise => Ok(process::serve()?),
    }
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
        spec.tracked_fs.recall(store.join("memos/files.json"));
        stages::pin(spec)?;
    }
    let planned = match loaded.spec {
        Some(spec) if found.is_empty() => Plan::new(spec, stages::REGISTRY).map(Some),
        // What the stages' kinds have to say is worth hearing all the same.
        Some(spec) => Err(Plan::problems(&spec, stages::REGISTRY)),
        None => Ok(None),
    };
    match planned {
        Ok(Some(plan)) => {
            plan.spec.tracked_fs.remember();
            let (sources, profiles, remote) = (loaded.sources, loaded.profiles, loaded.remote);
            return Ok(Planned { plan, sources, profiles, remote });
        }
        Ok(None) => {}
        Err(more) => {
            let known: HashSet<_> = found.iter().map(|p| (p.message.clone(), p.span)).collect();
            found.extend(more.into_iter().filter(|p| !known.contains(&(p.message.clone(), p.span))));
        }
    }
    Err(many_problems(&found, loaded.more, &loaded.sources, &args.pipeline))
}

fn problems(found: &[Diagnostic], sources: &SourceMap, pipeline: &Path) -> Failure {
    many_problems(found, 0, sources, pipeline)
}

/// The first of these problems and of `more`, rendered, and how many there are.
fn many_problems(found: &[Diagnostic], more: usize, sources: &SourceMap, pipeline: &Path) -> Failure {
    let shown = &found[..found.len().min(PROBLEMS_SHOWN)];
    let text = config::render_with(shown, sources, terminal::colours(&std::io::stderr()));
    let (all, file) = (found.len() + more, visible_line(&pipeline.display().to_string()).into_owned());
    let plural = if all == 1 { "" } else { "s" };
    // Where there are very many, not all are looked for.
    let at_least = if all < 100 { "" } else { "at least " };
    let last = match all - shown.len() {
        0 => format!("{all} problem{plural} in {file}"),
        rest => format!("{at_least}{all} problems in {file}: these are the first, and {rest} more aren't shown"),
    };
    Failure::Pipeline(format!("{text}\n{last}\n"))
}

/// The store of a plan: `--store`, EMOPIPE_STORE, or `cache` in the pipeline's root.
fn store_folder(args: &PipelineArgs, plan: &Plan) -> PathBuf {
    args.store.clone().unwrap_or_else(|| plan.spec.pipeline.root.join("cache"))
}

/// As [`open_store`], for commands that ask and change nothing: the store may belong to somebody else, or not be there yet.
fn open_store_to_read(args: &PipelineArgs, plan: &Plan) -> Result<Store> {
    Store::open_to_read(&store_folder(args, plan))
}

fn open_store(args: &PipelineArgs, plan: &Plan) -> Result<Store> {
    Store::open(&store_folder(args, plan))
}
