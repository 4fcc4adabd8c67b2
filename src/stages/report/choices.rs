//! `choices`: values of the pipeline that a publication leaves open.

use crate::{
    config::{Diagnostic, Node, Spec},
    report::Choice,
};

/// The leaves of the `choices` tables, each with the value that its path has.
pub fn choices(
    spec: &Spec,
    tables: &serde_json::Value,
    whole: &Node,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Choice> {
    let mut found = Vec::new();
    for (path, reason) in leaves(tables) {
        let span = whole.get(&format!("choices.{path}")).map_or(whole.span, |n| n.span);
        match (value_at(spec, &path), reason.as_str()) {
            (Some(value), Some(reason)) => found.push(Choice { path, value, reason: reason.to_owned() }),
            (_, None) => diagnostics.push(
                Diagnostic::new(format!("`{path}` must say where the value comes from, in a string")).at(span),
            ),
            (None, _) => diagnostics.push(
                Diagnostic::new(format!("the pipeline has no value `{path}`")).at(span).help(
                    "write the path of a key of a definition or a stage, such as `method.lora.adapter.alpha` or `stages.tokens.max_tokens`",
                ),
            ),
        }
    }
    found
}

/// All values that aren't tables, with their dotted paths.
fn leaves(tables: &serde_json::Value) -> Vec<(String, &serde_json::Value)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), tables)];
    while let Some((path, value)) = open.pop() {
        match value {
            serde_json::Value::Object(table) => {
                let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                open.extend(table.iter().rev().map(|(key, child)| (below(key), child)));
            }
            serde_json::Value::Null if path.is_empty() => {}
            leaf => found.push((path, leaf)),
        }
    }
    found
}

/// The value of `method.lora.adapter.alpha`, `stages.tokens.max_tokens` and the like, as people write it.
fn value_at(spec: &Spec, path: &str) -> Option<String> {
    let (kind, rest) = path.split_once('.')?;
    if (kind, rest) == ("pipeline", "seeds") {
        return Some(spec.pipeline.seeds.iter().map(i64::to_string).collect::<Vec<_>>().join(", "));
    }
    let (name, key) = rest.split_once('.')?;
    let node = match kind {
        "stages" => spec.stage(name)?.actions.first()?.params.get(key)?,
        _ => spec.definitions.get(kind)?.get(name)?.get(key)?,
    };
    let items = node.as_array().map(|items| items.iter().map(Node::scalar_text).collect::<Option<Vec<_>>>());
    match items {
        Some(items) => items.map(|texts| texts.join(", ")),
        None => node.scalar_text(),
    }
}
