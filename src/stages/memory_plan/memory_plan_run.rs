//! The work of `memory-plan`: lengths of tokens into rows of a table.

use super::memory_plan_table::{MemoryPlanParams, PlannedMethod, PlannedTask, TOKENS};
use crate::{
    base::error::{Error, IoAt, Result},
    engine::Context,
    estimate::{Answering, EvaluationEstimate, Lengths, ModelShape, Prompts, TrainingEstimate},
    packing::TokenSet,
    report::{MemoryLayout, MemoryRow, Named, memory_table},
    stages::tokens_input::read_tokens,
    train::TrainingLength,
};

/// Writes the table of all methods on all tasks.
///
/// # Errors
/// If an input holds no tokens, and where the user asked to stop.
pub(super) fn run(cx: &Context, params: MemoryPlanParams) -> Result<()> {
    let shape = ModelShape::of(&params.backbone, params.device)?
        .ok_or_else(|| Error::internal("a memory plan without the model's sizes"))?;
    let tokens = cx.inputs(TOKENS);
    if tokens.len() != params.tasks.len() {
        return Err(Error::internal(format!("{} inputs for {} tasks", tokens.len(), params.tasks.len())));
    }
    let mut rows = Vec::new();
    for PlannedTask { task, input } in &params.tasks {
        cx.checkpoint_reached()?;
        let set = read_tokens(&tokens[*input])?;
        let (train, test) = (Lengths::of(&set, "train")?, Lengths::of(&set, "test")?);
        rows.extend(
            params.methods.iter().map(|method| row(&params.model.name, &shape, task, method, &set, &train, &test)),
        );
    }
    let layout = MemoryLayout {
        title: params.title,
        model: params.model.title,
        parameters: shape.parameters(),
        dtype: shape.dtype.name().to_owned(),
        budget: params.budget,
    };
    for (name, content) in memory_table(&layout, &rows)? {
        let path = cx.out.join(name);
        std::fs::write(&path, content).io_at("write", &path)?;
    }
    Ok(())
}

/// What a method holds on a task.
fn row(
    model: &str,
    shape: &ModelShape,
    task: &Named,
    method: &PlannedMethod,
    set: &TokenSet,
    train: &Lengths,
    test: &Lengths,
) -> MemoryRow {
    let prompts = |split: &str| Prompts { split: split.to_owned(), max_tokens: None, examples: None };
    let training = TrainingEstimate {
        shape: shape.clone(),
        model: model.to_owned(),
        method: method.method.name.clone(),
        adapter: method.adapter.clone(),
        batch_size: method.batch_size,
        gradient_accumulation_steps: method.gradient_accumulation_steps,
        gradient_checkpointing: method.gradient_checkpointing,
        length: TrainingLength::Steps(0),
        prompts: prompts("train"),
    };
    let evaluation = EvaluationEstimate {
        shape: shape.clone(),
        model: model.to_owned(),
        adapter: method.adapter.clone(),
        answering: Answering::Written,
        max_new_tokens: None,
        prompts: prompts("test"),
    };
    MemoryRow {
        task: task.clone(),
        method: method.method.clone(),
        longest_prompt: train.longest_prompt().max(test.longest_prompt()),
        shared: train.shared,
        cut: set.truncated("train") + set.truncated("test"),
        training_row: training.row(train).tokens,
        training: method.adapter.is_trained().then(|| training.parts(train).0),
        evaluation: evaluation.parts(test).0,
    }
}
