//! Planning of `tokenize`: what task and model say of prompts.

use std::sync::Arc;

use super::tokenize_table::{TokenizeParams, TokenizeTable};
use crate::{
    base::machine::Resources,
    config::Diagnostic,
    data::{
        Task,
        prompt::{INSTRUCTION, Instruction},
        tokenizer::Convention,
    },
    engine::{ResolveContext, Resolved, Usual},
    models::usual_targets,
    stages::{
        lookup::{both, definition, diagnostic_at},
        tables::ModelTable,
    },
};

/// Bytes: vocabulary and merges of a large model, the examples and their ids.
const MEMORY: u64 = 512 << 20;

/// The description of a tokenization.
///
/// # Errors
/// All that is wrong with the stage.
pub(super) fn resolve(cx: &ResolveContext, table: &TokenizeTable) -> Result<Resolved<TokenizeParams>, Vec<Diagnostic>> {
    let (task, model) =
        both(definition::<Task>(cx, "task", &table.task), definition::<ModelTable>(cx, "model", &table.model))?;
    let convention = Convention::of(&model.family);
    let usual = convention.as_ref().and_then(|c| c.instruction.as_deref()).unwrap_or(INSTRUCTION);
    let instruction = task.instruction.unwrap_or_else(|| usual.to_owned());
    let (task_name, model_name) = (&*table.task, &*table.model);
    Instruction::new(&instruction, &[]).map_err(|e| vec![diagnostic_at(cx, ["task", task_name, "instruction"], e)])?;
    usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", model_name, "family"], e)])?;
    let dims = model.backbone().dims().map_err(|e| vec![diagnostic_at(cx, ["model", model_name, "config"], e)])?;
    let params = TokenizeParams {
        instruction,
        words: task.words.into_iter().collect(),
        chat_template: model.chat_template,
        chat_date: model.chat_date,
        max_tokens: table.max_tokens,
        context: dims.map(|d| d.max_positions),
        convention,
    };
    Ok(Resolved {
        resources: Resources { memory: MEMORY, ..Resources::default() },
        time: Some(Arc::new(Usual(2.0))),
        ..Resolved::of(params)
    })
}
