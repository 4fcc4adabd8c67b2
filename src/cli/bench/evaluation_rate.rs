//! `bench evaluate`: test prompts of each task, answered.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    figures::{processor_seconds, rate, since},
    subject::{Method, SEED, Subject},
    workload::Task,
};
use crate::{
    base::error::Result,
    cli::bench::bench_args::{BenchAnswer, BenchModelArgs},
    eval::{classify::classify, generate::generate, rank},
    models::{Adapter, adapters::Head},
};

pub fn evaluate(args: &BenchModelArgs, answer: BenchAnswer, examples: usize, max_new_tokens: usize) -> Result<Value> {
    let (subject, workload) = Subject::of(args)?;
    let method = Method { kind: args.method, rank: args.rank, virtual_tokens: args.virtual_tokens };
    let vocab = subject.backbone.dims().vocab;
    let (mut count, mut tokens, mut seconds, mut processor) = (0, 0, 0.0, 0.0);
    for (i, task) in workload.tasks.iter().enumerate() {
        let lengths: Vec<usize> = task.test.iter().copied().cycle().take(examples).collect();
        let samples = task.samples(&lengths, vocab);
        let adapter = subject.adapter(method, task)?;
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let run = |prompts: &[&[u32]]| answer_all(&subject, answer, task, adapter.as_ref(), prompts, max_new_tokens);
        if i == 0 {
            run(&prompts[..1])?;
            subject.device().synchronize()?;
        }
        let (begun, before) = (Instant::now(), processor_seconds());
        run(&prompts)?;
        subject.device().synchronize()?;
        processor += since(before);
        seconds += begun.elapsed().as_secs_f64();
        count += samples.len();
        tokens += lengths.iter().sum::<usize>();
    }
    let answer = format!("{answer:?}").to_lowercase();
    subject.line(
        args,
        "evaluate",
        json!({
            "answer": answer, "examples": count,
            "examples_per_s": rate(count as f64, seconds), "tokens_per_s": rate(tokens as f64, seconds),
            "examples_per_processor_s": rate(count as f64, processor),
        }),
    )
}

fn answer_all(
    subject: &Subject,
    answer: BenchAnswer,
    task: &Task,
    adapter: &dyn Adapter,
    prompts: &[&[u32]],
    max_new_tokens: usize,
) -> Result<()> {
    let backbone = subject.backbone.as_ref();
    let go_on = |_| Ok(());
    match answer {
        BenchAnswer::Rank => rank::rank(backbone, adapter, prompts, &task.answers(), go_on).map(drop),
        // No id stops it: every answer has the full length.
        BenchAnswer::Generate => generate(backbone, adapter, prompts, u32::MAX, max_new_tokens, go_on).map(drop),
        BenchAnswer::Head => {
            let head = Head::new(task.labels.len(), backbone, SEED)?;
            classify(backbone, adapter, &head, prompts, go_on).map(drop)
        }
    }
}
