//! Datasets and tasks as definitions of a pipeline file: checked one by one, and looked up together.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::{
    card::{Card, Problem},
    scheme::Scheme,
    task::Task,
};
use crate::config::{Diagnostic, Entry, Node, Span, Spec, from_node, suggest};

/// The definition tables that this layer brings: `[dataset.NAME]` and `[task.NAME]`.
pub fn definitions() -> [Entry; 2] {
    [
        Entry { name: "dataset", check: check_card, schema: schema_of::<Card> },
        Entry { name: "task", check: |node| from_node::<Task>(node).err().unwrap_or_default(), schema: schema_of::<Task> },
    ]
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn check_card(node: &Node) -> Vec<Diagnostic> {
    match from_node::<Card>(node) {
        Ok(card) => diagnostics(node, card.problems()),
        Err(found) => found,
    }
}

/// Problems at the deepest table or value that their path leads to.
fn diagnostics(node: &Node, problems: Vec<Problem>) -> Vec<Diagnostic> {
    problems
        .into_iter()
        .map(|problem| {
            let place = problem.path.split('.').try_fold(node, |at, key| at.get(key).ok_or(at)).unwrap_or_else(|at| at);
            let diagnostic = Diagnostic::new(problem.message).at(place.span);
            match problem.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            }
        })
        .collect()
}

/// A task with everything that it names.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    pub name: String,
    pub task: Task,
    pub card: Card,
    /// The card's scheme that the task picks.
    pub scheme: Scheme,
}

/// Looks up the task `name`, which was used at `span`.
///
/// # Errors
/// Names that don't exist, with the nearest that do; whatever is wrong with the task or its dataset's card.
pub fn task(spec: &Spec, name: &str, span: Option<Span>) -> Result<TaskDefinition, Vec<Diagnostic>> {
    let node = spec.definition("task", name, span).map_err(|d| vec![d])?;
    let task: Task = from_node(node)?;
    let at = |key: &str| node.get(key).map_or(node.span, |n| n.span);
    let card_node = spec.definition("dataset", &task.dataset, Some(at("dataset"))).map_err(|d| vec![d])?;
    let card: Card = from_node(card_node)?;
    let problems = card.problems();
    if !problems.is_empty() {
        return Err(diagnostics(card_node, problems));
    }
    let Some(scheme) = card.schemes.get(&task.scheme).cloned() else {
        let unknown = format!("dataset `{}` has no label scheme `{}`", task.dataset, task.scheme);
        let known: Vec<&str> = card.schemes.keys().map(String::as_str).collect();
        let help = match suggest(&task.scheme, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("schemes of the card: `{}`", known.join("`, `")),
        };
        return Err(vec![Diagnostic::new(unknown).at(at("scheme")).help(help)]);
    };
    let problems = task.problems(&scheme.labels);
    if !problems.is_empty() {
        return Err(diagnostics(node, problems));
    }
    Ok(TaskDefinition { name: name.to_owned(), task, card, scheme })
}
