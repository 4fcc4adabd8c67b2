//! `bench`: what training and evaluation cost, as JSON lines.

mod bench_model;
mod clock;
mod evaluation_rate;
mod figures;
mod products;
mod subject;
pub mod suite;
mod training_rate;
mod workload;

use rayon::ThreadPoolBuilder;
use serde_json::Value;

use super::{
    CommandResult,
    args::{BenchArgs, BenchCommand},
    print,
};
use crate::base::error::{Error, Result};

pub fn bench(args: &BenchArgs) -> CommandResult {
    let line = match &args.what {
        BenchCommand::Workload { artifacts } => {
            serde_json::to_value(workload::Workload::of_artifacts(artifacts)?).map_err(Error::from)?
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
