//! `bench`: what training and evaluation cost, as JSON lines.

mod clock;
mod evaluate;
mod figures;
mod model;
mod products;
mod subject;
pub mod suite;
mod train;
mod workload;

use rayon::ThreadPoolBuilder;
use serde_json::Value;

use super::{
    Outcome,
    args::{BenchArgs, BenchCommand},
    print,
};
use crate::error::{Error, Result};

pub fn bench(args: &BenchArgs) -> Outcome {
    let line = match &args.what {
        BenchCommand::Workload { artifacts } => {
            serde_json::to_value(workload::Workload::of_artifacts(artifacts)?).map_err(Error::from)?
        }
        BenchCommand::Train { model, batch, steps, warmup } => {
            on_threads(model.threads, || train::train(model, *batch, *steps, *warmup))?
        }
        BenchCommand::Evaluate { model, answer, examples, longest } => {
            on_threads(model.threads, || evaluate::evaluate(model, *answer, *examples, *longest))?
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
