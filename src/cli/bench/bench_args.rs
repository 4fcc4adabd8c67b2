//! What is measured: a model on a device, what is trained on it, and the lengths of its prompts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    base::machine::Device,
    cli::value_parsers::{device, dtype},
    models::Dtype,
};

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
