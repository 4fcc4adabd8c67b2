//! What is measured: a model on a device, what is trained on it, and the lengths of its prompts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    base::machine::Device,
    cli::value_parsers::{device, dtype},
    models::{Dtype, adapters::METHODS},
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
    #[arg(long, value_name = "KIND", default_value = "lora", value_parser = method)]
    pub method: &'static str,
    /// Rank of LoRA.
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    /// Virtual tokens of a prefix or a prompt.
    #[arg(long, default_value_t = 32)]
    pub virtual_tokens: usize,
    /// Threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BenchAnswer {
    Rank,
    Generate,
    Head,
}

fn method(text: &str) -> Result<&'static str, String> {
    let names = || METHODS.iter().map(|method| method.name);
    names()
        .find(|name| *name == text)
        .ok_or_else(|| format!("expected one of {}", names().collect::<Vec<_>>().join(", ")))
}
