//! `emopipe bench`: what training and evaluation cost, as JSON lines.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rayon::ThreadPoolBuilder;
use serde_json::Value;

use super::{
    bench_args::{BenchAnswer, BenchModelArgs},
    evaluation_rate, products, suite,
    suite_args::SuiteArgs,
    training_rate,
    workload::Workload,
};
use crate::{
    base::{
        error::{Error, Result},
        machine::Device,
    },
    cli::{
        cli_command::CliCommand,
        command_result::CommandResult,
        terminal::print,
        value_parsers::{at_least_one, device, dtype, named_path},
    },
    models::Dtype,
};

/// Measure what training and evaluation cost on this machine; prints one JSON line.
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
        max_new_tokens: usize,
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

impl CliCommand for BenchArgs {
    const NAME: &'static str = "bench";

    fn execute(&self) -> CommandResult {
        bench(self)
    }
}

fn bench(args: &BenchArgs) -> CommandResult {
    let line = match &args.what {
        BenchCommand::Workload { artifacts } => {
            serde_json::to_value(Workload::of_artifacts(artifacts)?).map_err(Error::from)?
        }
        BenchCommand::Train { model, batch, steps, warmup } => {
            on_threads(model.threads, || training_rate::train(model, *batch, *steps, *warmup))?
        }
        BenchCommand::Evaluate { model, answer, examples, max_new_tokens } => {
            on_threads(model.threads, || evaluation_rate::evaluate(model, *answer, *examples, *max_new_tokens))?
        }
        BenchCommand::Matmul { device, dtype, size, repeats } => products::square(*device, *dtype, *size, *repeats)?,
        BenchCommand::Suite(args) => return Ok(on_threads(args.threads, || suite::suite(args, show))?),
    };
    show(&line);
    Ok(())
}

fn show(line: &Value) {
    print(&format!("{line}\n"));
}

fn on_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    pool.build().map_err(|e| Error::environment(format!("can't start threads: {e}")))?.install(work)
}
