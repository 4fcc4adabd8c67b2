//! The work of `tokenize`: examples into token ids.

use std::{collections::BTreeMap, fs, path::Path};

use polars::prelude::{Column, NamedFrom, Series};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use serde::Deserialize;

use super::tokenize_table::TokenizeParams;
use crate::{
    base::error::{At, Error, IoAt, Result},
    data::{
        self, EXAMPLES_FILE, Example, LengthStats, Split, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo, answers,
        chat::Chat,
        frame,
        prompt::{Instruction, SENTENCE, answer_words},
        prompter::{Prompt, Prompter, prompt_limit},
        read_examples,
        tokenizer::PretrainedTokenizer,
    },
    engine::{Artifact, Context},
};

/// Examples between two looks at whether to stop.
const CHUNK: usize = 1024;

/// What this stage reads of the examples' [`data::Summary`].
#[derive(Deserialize)]
struct Summary {
    labels: Vec<String>,
}

/// Writes ids and what they have in common.
///
/// # Errors
/// If an input is none that the stage can use, and where the user asked to stop.
pub(super) fn run(cx: &Context, params: &TokenizeParams) -> Result<()> {
    let examples = cx.input("examples")?;
    let labels = labels(examples)?;
    let examples = read(examples.file(EXAMPLES_FILE)?, &labels)?;

    let model = PretrainedTokenizer::load(&cx.input("model")?.files, params.convention.as_ref())?;
    let chat = Chat::new(&model, params.chat_template.as_deref(), params.chat_date.as_deref())?;
    let words = answer_words(&labels, params.words.iter().map(|(l, w)| (l.as_str(), w.as_str())))?;
    let answers = answers(&chat, &labels, &words)?;
    let limit = prompt_limit(params.max_tokens, model.context.or(params.context), &answers)?;
    let instruction = Instruction::new(&params.instruction, &words)?;
    let prompts = prompts(cx, &Prompter::new(&chat, &instruction, limit)?, &examples)?;

    let info = TokensInfo {
        tokenizer: model.kind.clone(),
        vocab_size: model.tokenizer.vocab_size(),
        labels: answers,
        end_id: chat.end(),
        instruction: instruction.prompt(SENTENCE),
        example: chat.text(&instruction.prompt(shown(&examples)))?,
        max_tokens: limit.tokens,
        prompt_tokens: LengthStats::of(prompts.iter().map(|p| p.ids.len()).collect())
            .ok_or_else(|| Error::internal("no prompts"))?,
        truncated: prompts.iter().filter(|p| p.truncated).count(),
        truncated_by_split: truncated_by_split(&examples, &prompts),
    };
    if let (true, Some(limit)) = (info.truncated > 0, limit.tokens) {
        cx.progress.message(&format!(
            "{} of {} sentences shortened to fit {limit} tokens",
            info.truncated,
            prompts.len()
        ));
    }
    write(cx.out, &examples, &prompts, &info)
}

fn labels(examples: &Artifact) -> Result<Vec<String>> {
    let path = examples.file(data::Summary::FILE)?;
    let summary: Summary = serde_json::from_slice(&fs::read(path).io_at("read", path)?)
        .map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    Ok(summary.labels)
}

fn read(path: &Path, labels: &[String]) -> Result<Vec<Example>> {
    let examples = read_examples(path)?;
    if examples.is_empty() {
        return Err(Error::input("there are no examples").help("the task's scheme or limit leaves none of them"));
    }
    match examples.iter().find(|e| e.label_id as usize >= labels.len()) {
        Some(e) => Err(Error::input(format!(
            "example `{}` has label {}, and there are {} labels",
            e.id,
            e.label_id,
            labels.len()
        ))),
        None => Ok(examples),
    }
}

/// The sentence that stands for all in what people read: the first to be trained on, if any.
fn shown(examples: &[Example]) -> &str {
    let trained = examples.iter().find(|e| e.split == Split::Train);
    trained.or(examples.first()).map_or("", |e| e.text.as_str())
}

/// The prompts of all examples, in their order.
fn prompts(cx: &Context, prompter: &Prompter<'_>, examples: &[Example]) -> Result<Vec<Prompt>> {
    let pool: ThreadPool = ThreadPoolBuilder::new()
        .num_threads(cx.job.threads.max(1))
        .build()
        .map_err(|e| Error::environment(format!("can't start threads: {e}")))?;
    let mut prompts = Vec::with_capacity(examples.len());
    for chunk in examples.chunks(CHUNK) {
        cx.checkpoint_reached()?;
        let one = |e: &Example| prompter.prompt(&e.text).at(format!("example `{}`", e.id));
        prompts.extend(pool.install(|| chunk.par_iter().map(one).collect::<Result<Vec<_>>>())?);
        cx.progress.step(prompts.len() as u64, examples.len() as u64, "example", "");
    }
    Ok(prompts)
}

fn truncated_by_split(examples: &[Example], prompts: &[Prompt]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (example, _) in examples.iter().zip(prompts).filter(|(_, p)| p.truncated) {
        *counts.entry(example.split.name().to_owned()).or_default() += 1;
    }
    counts
}

fn write(out: &Path, examples: &[Example], prompts: &[Prompt], info: &TokensInfo) -> Result<()> {
    let column = |of: fn(&Example) -> &str| examples.iter().map(of).collect::<Vec<_>>();
    let labels: Vec<u32> = examples.iter().map(|e| e.label_id).collect();
    let ids: Vec<&[u32]> = prompts.iter().map(|p| p.ids.as_slice()).collect();
    let truncated: Vec<bool> = prompts.iter().map(|p| p.truncated).collect();
    frame::write_parquet(
        &out.join(TOKENS_FILE),
        vec![
            frame::string_column("id", &column(|e| &e.id)),
            frame::string_column("split", &column(|e| e.split.name())),
            frame::u32_column("label_id", &labels),
            frame::u32_list_column("input_ids", &ids),
            Column::from(Series::new("truncated".into(), truncated)),
        ],
    )?;
    let path = out.join(TOKENS_INFO_FILE);
    let mut text = serde_json::to_string_pretty(info)?;
    text.push('\n');
    fs::write(&path, text).io_at("write", &path)
}
