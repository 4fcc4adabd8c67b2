//! Arguments that say what of the machine actions may use together.

use clap::Args;

use super::value_parsers::size;
use crate::{base::machine::Resources, engine::scheduler::Limits};

#[derive(Args)]
pub struct LimitArgs {
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
}

impl LimitArgs {
    /// What of `machine` actions may use.
    pub fn limits(&self, machine: Resources) -> Limits {
        let machine = Resources {
            cores: self.cores.unwrap_or(machine.cores).max(1),
            memory: self.memory.unwrap_or(machine.memory),
            gpus: self.gpus.unwrap_or(machine.gpus),
        };
        Limits { machine, jobs: self.jobs }
    }
}
