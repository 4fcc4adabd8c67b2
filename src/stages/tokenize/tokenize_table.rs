//! The keys of a `tokenize` stage, and what becomes of them in the key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::tokenizer::Convention;

/// Turns examples into prompts and token ids. Inputs: `examples`, `model`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenizeStage")]
pub struct TokenizeTable {
    /// Name of a `[task.NAME]` table.
    pub task: String,
    /// Name of a `[model.NAME]` table.
    pub model: String,
    /// Longest prompt in tokens, without the answer (default: what the model can read). Longer prompts lose the end of
    /// their sentence.
    pub max_tokens: Option<usize>,
}

/// What decides the ids, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenizeParams {
    pub instruction: String,
    /// Label and answer words, where the task chooses them.
    pub words: BTreeMap<String, String>,
    pub chat_template: Option<String>,
    /// What a template that asks for today's date gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
    pub max_tokens: Option<usize>,
    /// Tokens that the model can read, where the pipeline file states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// What the model's family adds to its tokenizer file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convention: Option<Convention>,
}
