//! Arguments of `bench suite`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    base::machine::Device,
    cli::value_parsers::{at_least_one, device, dtype, named_path},
    models::Dtype,
};

#[derive(Args)]
pub struct SuiteArgs {
    /// A known shape or a config.json; weights are drawn.
    #[arg(long)]
    pub model: String,
    /// Layers, in place of the shape's own number.
    #[arg(long, value_parser = at_least_one)]
    pub layers: Option<usize>,
    /// What computes.
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub device: Device,
    /// Number format of the frozen matrices.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    pub dtype: Dtype,
    /// A workload with a name, as `bench workload` writes it; its first task is trained.
    #[arg(long, required = true, value_name = "NAME=FILE", value_parser = named_path)]
    pub workload: Vec<(String, PathBuf)>,
    /// Rank of LoRA.
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    /// Virtual tokens of a prefix.
    #[arg(long, default_value_t = 32)]
    pub virtual_tokens: usize,
    /// Examples per step.
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub batch: usize,
    /// Steps that are measured, after the same ones for warm-up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// Rows of the layers' products.
    #[arg(long, value_delimiter = ',', default_value = "514,640,1176,8208")]
    pub rows: Vec<usize>,
    /// Rows and columns of the matrices whose product is the ceiling.
    #[arg(long, default_value_t = 8192, value_parser = at_least_one)]
    pub size: usize,
    /// Only these pieces of work; `--list` names them.
    #[arg(long, value_name = "PIECE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// All but these.
    #[arg(long, value_name = "PIECE", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Begin no piece after so many seconds.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Name the pieces, and do none.
    #[arg(long)]
    pub list: bool,
    /// Threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}
