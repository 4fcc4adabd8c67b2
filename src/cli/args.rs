//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use super::bench::suite::SuiteArgs;
use crate::{base::machine::Device, models::Dtype};

/// What the program ends with.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something failed, or what was to be printed couldn't be
  2    wrong usage, or problems in the pipeline
  130  interrupted";

#[derive(Parser)]
#[command(name = "emopipe", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Say more on standard error (repeat for more).
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a pipeline: compute what has changed, reuse the rest, place the reports.
    Run(RunArgs),
    /// Say what `run` would do, and why, without doing it.
    Plan(PlanArgs),
    /// Say what is done, and how the last run ended.
    Status(StatusArgs),
    /// Say why a stage or an action ran or would run, and what it was made from.
    Explain(TargetArgs),
    /// Show the parameters and metrics in which two runs differ.
    Diff(DiffArgs),
    /// Print the pipeline's graph.
    Graph(GraphArgs),
    /// Fill in missing BLAKE3 pins of sources, in the TOML files that name them.
    Pin(PinArgs),
    /// Forget results, so that the next run computes them again.
    Clean(CleanArgs),
    /// Remove files from the store that no result (or none of the given pipelines) needs.
    Gc(GcArgs),
    /// Show what takes space in the store.
    Du(DuArgs),
    /// Read the whole store and name what has rotted, or compute results again and compare them.
    Verify(VerifyArgs),
    /// Write the digests of all downloads and reports beside the pipeline, for `run --locked`.
    Lock(PipelineArgs),
    /// Vouch that a change can't alter a stage's results: the earlier ones stand, and reports say so.
    Accept(AcceptArgs),
    /// Measure what training and evaluation cost on this machine; prints one JSON line.
    Bench(BenchArgs),
    /// Send results to the remote store.
    Push(PushArgs),
    /// Fetch results from the remote store.
    Pull(PullArgs),
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the reference of pipeline files, as docs/reference.md has it.
    #[command(hide = true)]
    Reference(ReferenceArgs),
    /// Run one action; started by `run`.
    #[command(hide = true)]
    Worker,
    /// Watch over one command; started by a worker.
    #[command(hide = true)]
    Supervise,
}

#[derive(Clone, Args)]
pub struct PipelineArgs {
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// Profile to apply [default: the file's default_profile].
    #[arg(short, long)]
    pub profile: Option<String>,
    /// Override a value of the file, such as `method.lora.rank=4`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Folder of the store [default: `cache` in the pipeline's root].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder with the files that can't be downloaded, as NAME/FILE [default: `data` in the pipeline's root].
    #[arg(long, env = "EMOPIPE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder laid out as HOST/PATH that is tried before the network.
    #[arg(long, env = "EMOPIPE_MIRROR", value_name = "DIR")]
    pub mirror: Option<PathBuf>,
}

#[derive(Args)]
pub struct PinArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Also pin local files anew that have changed since they were pinned.
    #[arg(long)]
    pub update: bool,
}

#[derive(Args)]
pub struct SelectionArgs {
    /// Only this stage or action; what it needs must be in the store.
    #[arg(long, value_name = "STAGE", conflicts_with = "until")]
    pub only: Vec<String>,
    /// This stage or action and what it needs, and nothing after.
    #[arg(long, value_name = "STAGE")]
    pub until: Vec<String>,
    /// Compute this stage or action even if its result is known.
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Most actions at once.
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Cores that actions may use together [default: all].
    #[arg(long, value_name = "N")]
    pub cores: Option<u32>,
    /// Memory that actions may use together, such as `8 GiB` [default: all].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// GPUs that actions may use together [default: all].
    #[arg(long, value_name = "N")]
    pub gpus: Option<u32>,
    /// Go on with what doesn't depend on a failed action.
    #[arg(short, long)]
    pub keep_going: bool,
    /// Never touch the network.
    #[arg(long, env = "EMOPIPE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Fail where a download or a report would differ from the lock file.
    #[arg(long)]
    pub locked: bool,
    /// Read the whole store first, and compute again what has rotted.
    #[arg(long)]
    pub verify: bool,
    /// Replace files in the way of exports that emopipe didn't write, or that were edited since.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Show cached actions too.
    #[arg(short, long)]
    pub all: bool,
}

#[derive(Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// List all runs of the store, too.
    #[arg(short, long)]
    pub all: bool,
}

#[derive(Args)]
pub struct TargetArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// A stage, an action such as `train[task=movies-2,method=lora,seed=0]`, some axes of a stage, the beginning of a digest,
    /// or a cell of a report such as `table-2:lora:movies-2:accuracy`.
    pub target: String,
}

#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The language that describes it.
    #[arg(short, long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub format: GraphFormat,
    /// Every action instead of every stage.
    #[arg(short, long)]
    pub actions: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    Dot,
    Mermaid,
}

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

#[derive(Args)]
pub struct PullArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Stages or actions to fetch [default: all].
    pub targets: Vec<String>,
}

#[derive(Args)]
pub struct CleanArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Stages or actions to forget [default: all].
    pub targets: Vec<String>,
}

#[derive(Args)]
pub struct GcArgs {
    /// Pipelines whose current results stay. Without a limit of age or size, nothing else does; without pipelines either,
    /// every result stays.
    pub pipelines: Vec<PathBuf>,
    /// Results that no run has used for this long go, such as `30d` or `12h`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<u64>,
    /// The least recently used results go until the rest takes no more than this, such as `20 GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Profiles of those pipelines that count [default: each file's own default].
    #[arg(short, long)]
    pub profile: Vec<String>,
    /// Folder of the store [default: `cache` in the first pipeline's root, or here].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Folder with the files that can't be downloaded [default: `data` in each pipeline's root].
    #[arg(long, env = "EMOPIPE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Only list what would go.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct DuArgs {
    /// Folder of the store [default: `cache`].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

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

#[derive(Args)]
pub struct AcceptArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// A stage, an action, or some axes of a stage.
    pub stage: String,
    /// Why the change can't alter the results; reports quote it.
    #[arg(short, long)]
    pub note: String,
}

#[derive(Args)]
pub struct ReferenceArgs {
    /// That of the command line, as docs/cli.md has it.
    #[arg(long)]
    pub cli: bool,
}

#[derive(Args)]
pub struct DiffArgs {
    /// A run: its name, the beginning of it, `last`, or `last~1` for the one before.
    pub a: String,
    /// Another one.
    pub b: String,
    /// Folder of the store [default: `cache`].
    #[arg(long, env = "EMOPIPE_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Milliseconds.
fn age(text: &str) -> Result<u64, String> {
    let expected = || "expected an age such as `30d`, `12h` or `90m`".to_owned();
    let text = text.trim();
    let unit = text.chars().last().ok_or_else(expected)?;
    let minutes: u64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(expected()),
    };
    let count: u64 = text[..text.len() - 1].trim().parse().map_err(|_| expected())?;
    count.checked_mul(minutes * 60_000).ok_or_else(expected)
}

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub what: BenchCommand,
}

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Optimiser steps per second: the training loop itself, on every task of the workload in turn.
    Train {
        #[command(flatten)]
        model: BenchModelArgs,
        /// Examples per step.
        #[arg(long, default_value_t = 16)]
        batch: usize,
        /// Steps on each task.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
        steps: u64,
        /// Steps on the first task that aren't measured.
        #[arg(long, default_value_t = 1)]
        warmup: u64,
    },
    /// Examples per second in evaluation.
    Evaluate {
        #[command(flatten)]
        model: BenchModelArgs,
        /// How an answer becomes a label.
        #[arg(long, value_enum, default_value_t = BenchAnswer::Rank)]
        answer: BenchAnswer,
        /// Test examples of each task.
        #[arg(long, default_value_t = 64, value_parser = at_least_one)]
        examples: usize,
        /// Tokens that `--answer generate` writes.
        #[arg(long, default_value_t = 8)]
        longest: usize,
    },
    /// What a device multiplies at most: square matrices, with its vendor's library on a GPU.
    Matmul {
        /// What computes.
        #[arg(long, default_value = "cpu", value_parser = device)]
        device: Device,
        /// Number format of the matrices.
        #[arg(long, default_value = "f32", value_parser = dtype)]
        dtype: Dtype,
        /// Rows and columns.
        #[arg(long, default_value_t = 8192, value_parser = at_least_one)]
        size: usize,
        /// Products that are measured.
        #[arg(long, default_value_t = 20, value_parser = at_least_one)]
        repeats: usize,
    },
    /// All of these on one shape, from one process: for machines that are at hand for minutes.
    Suite(SuiteArgs),
    /// Write the lengths of tokens artifacts as a workload.
    Workload {
        /// The name of a task, and the folder of its tokens.
        #[arg(required = true, value_name = "NAME=FOLDER", value_parser = named_path)]
        artifacts: Vec<(String, PathBuf)>,
    },
}

#[derive(Args)]
pub struct BenchModelArgs {
    /// A folder with weights, a GGUF file, or with `--random` a known shape or a config.json.
    #[arg(long)]
    pub model: String,
    /// Draw the weights: the shape alone counts.
    #[arg(long)]
    pub random: bool,
    /// What computes.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub device: Device,
    /// Number format of the frozen matrices.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    pub dtype: Dtype,
    /// Lengths of the prompts, as `bench workload` writes them.
    #[arg(long, value_name = "FILE")]
    pub workload: PathBuf,
    /// What is trained on top of the model.
    #[arg(long, value_enum, default_value_t = BenchMethod::Lora)]
    pub method: BenchMethod,
    /// Rank of LoRA.
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    /// Length of a prefix.
    #[arg(long, default_value_t = 32)]
    pub virtual_tokens: usize,
    /// Threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BenchMethod {
    None,
    Lora,
    Prefix,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BenchAnswer {
    Rank,
    Generate,
    Head,
}

pub fn dtype(text: &str) -> Result<Dtype, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected f32, bf16 or f16".to_owned())
}

pub fn device(text: &str) -> Result<Device, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected cpu or cuda".to_owned())
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number above 0".to_owned())
}

pub fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    Ok((name.to_owned(), path.into()))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::parse_size(text).ok_or_else(|| "expected a size such as `8 GiB`".to_owned())
}
