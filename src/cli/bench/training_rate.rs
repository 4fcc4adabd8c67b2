//! `bench train`: the training loop itself, `steps` steps of `batch` examples from each task in turn.

use serde_json::{Value, json};

use super::{
    clock::Clock,
    figures::{median, processor_seconds, rate, since},
    subject::{Method, Subject},
};
use crate::{base::error::Result, cli::bench::bench_args::BenchModelArgs};

pub fn train(args: &BenchModelArgs, batch: usize, steps: u64, warmup: u64) -> Result<Value> {
    let (subject, workload) = Subject::of(args)?;
    let method = Method { kind: args.method, rank: args.rank, virtual_tokens: args.virtual_tokens };
    let mut seconds = Vec::new();
    let (mut tokens, mut computed, mut trainable, mut loss, mut processor) = (0, 0.0, 0, f64::NAN, 0.0);
    for (i, task) in workload.tasks.iter().enumerate() {
        let samples = subject.samples(task, batch, steps);
        let adapter = subject.adapter(method, task)?;
        if i == 0 {
            trainable = adapter.parameters().iter().map(|(_, p)| p.elem_count()).sum();
            if warmup > 0 {
                let unwatched = Clock::new(subject.device());
                subject.train(task, adapter.as_ref(), &samples, batch, warmup, &unwatched)?;
            }
        }
        let clock = Clock::new(subject.device());
        let before = processor_seconds();
        let losses = subject.train(task, adapter.as_ref(), &samples, batch, steps, &clock)?;
        loss = losses.last().map_or(f64::NAN, |loss| f64::from(*loss));
        processor += since(before);
        computed += clock.measured("tokens_per_second") * clock.measured("train_seconds");
        seconds.extend(clock.laps().iter().map(|lap| lap.seconds));
        tokens += samples.iter().map(|s| subject.tokens(task, s)).sum::<usize>();
    }
    let total: f64 = seconds.iter().sum();
    let examples = (seconds.len() * batch) as f64;
    subject.line(
        args,
        "train",
        json!({
            "batch": batch, "steps": seconds.len(), "trainable": trainable,
            "examples_per_s": rate(examples, total), "tokens_per_s": rate(tokens as f64, total),
            "computed_tokens_per_s": rate(computed, total), "examples_per_processor_s": rate(examples, processor),
            "median_step_s": median(&seconds), "loss": loss,
        }),
    )
}
