//! Planning of `prepare`: a task's card and scheme as a recipe.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::machine::Resources,
    config::Diagnostic,
    data::{PreparationSpec, task_definition},
    engine::{ResolveContext, Resolved, Usual},
    stages::lookup::span,
};

/// Turns the files of a dataset into one table of labelled examples, as its card and the task say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrepareStage")]
pub struct PrepareTable {
    /// Name of the task.
    pub task: String,
}

/// The description of a preparation.
///
/// # Errors
/// All that is wrong with the task, its card and its scheme.
pub(super) fn resolve(cx: &ResolveContext, table: &PrepareTable) -> Result<Resolved<PreparationSpec>, Vec<Diagnostic>> {
    let span = span(cx, "task").unwrap_or(cx.action.params.span);
    let found = task_definition::task(cx.spec, &table.task, Some(span))?;
    let recipe =
        PreparationSpec::new(&found.task.dataset, &found.card, &found.task.scheme, &found.scheme, found.task.limit);
    Ok(Resolved {
        resources: Resources { memory: 512 << 20, ..Resources::default() },
        time: Some(Arc::new(Usual(2.0))),
        ..Resolved::of(recipe)
    })
}
