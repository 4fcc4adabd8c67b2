//! The `[model.NAME]` table of a pipeline file.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{self, Diagnostic, Node},
    fetch::Source,
    models::{BackboneSpec, ConfigTable, Dtype, usual_targets},
};

/// A backbone: what computes it and where its files come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Model")]
pub struct ModelTable {
    /// The program's name for the computation: `llama` (also Qwen2, SmolLM2 and others of that build), `chatglm`
    /// (ChatGLM2, ChatGLM3) or `bert` (an encoder: MiniLM and others).
    pub family: String,
    /// Name for readers.
    #[serde(default)]
    pub title: Option<String>,
    /// Licence of the weights, as an SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// File name, and where it comes from.
    #[schemars(with = "BTreeMap<String, Source>")]
    pub source: IndexMap<String, serde_json::Value>,
    /// What the frozen matrices are kept in.
    #[serde(default)]
    pub dtype: Dtype,
    /// Keys of the model's `config.json`, for a source that brings none, and to know sizes before anything is downloaded.
    #[serde(default)]
    pub config: ConfigTable,
    /// Jinja template of a conversation, where the files bring none or it is to be replaced.
    #[serde(default)]
    pub chat_template: Option<String>,
    /// What a template that asks for today's date takes as such, like `2024-07-26`.
    #[serde(default)]
    pub chat_date: Option<String>,
}

impl ModelTable {
    pub fn backbone(&self) -> BackboneSpec {
        BackboneSpec { family: self.family.clone(), dtype: self.dtype, config: self.config.clone() }
    }
}

/// What a model's table says on its own: its shape, and whether there is such a family.
pub fn check(node: &Node) -> Vec<Diagnostic> {
    let model = match config::from_node::<ModelTable>(node) {
        Ok(model) => model,
        Err(found) => return found,
    };
    let place = node.get("family").unwrap_or(node).span;
    let unknown = usual_targets(&model.family).err();
    unknown.into_iter().map(|e| Diagnostic { help: e.help, ..Diagnostic::new(e.message).at(place) }).collect()
}
