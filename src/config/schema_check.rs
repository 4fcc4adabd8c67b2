//! What of an example a schema doesn't know.

use serde_json::{Map, Value as Json, json};

use super::{
    node::{Node, Value},
    schema_copies::resolve,
};

pub(super) fn find_unknown(
    schemas: &[&Json],
    definitions: &Map<String, Json>,
    node: &Node,
    path: String,
    unknown: &mut Vec<String>,
) {
    let mut branches = Vec::new();
    schemas.iter().for_each(|schema| flatten(schema, definitions, node, &mut branches));
    if branches.iter().any(|branch| accepts_anything(branch, node)) {
        return;
    }
    match &node.value {
        Value::Table(table) => {
            for (name, (_, child)) in table {
                let inner: Vec<_> = branches
                    .iter()
                    .filter_map(|b| b.get("properties").and_then(|p| p.get(name)).or(b.get("additionalProperties")))
                    .filter(|schema| **schema != json!(false))
                    .collect();
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if inner.is_empty() {
                    unknown.push(path);
                } else {
                    find_unknown(&inner, definitions, child, path, unknown);
                }
            }
        }
        Value::Array(items) => {
            let inner: Vec<_> = branches.iter().filter_map(|b| b.get("items")).collect();
            for (i, item) in items.iter().enumerate().filter(|_| !inner.is_empty()) {
                find_unknown(&inner, definitions, item, format!("{path}.{i}"), unknown);
            }
        }
        _ => {}
    }
}

/// All the schemas that can apply to `node`, out of references and branches.
fn flatten<'a>(schema: &'a Json, definitions: &'a Map<String, Json>, node: &Node, branches: &mut Vec<&'a Json>) {
    let schema = resolve(schema, definitions);
    let excluded = schema.get("properties").and_then(Json::as_object).into_iter().flatten().any(|(name, property)| {
        // A tag with another value: this branch is about something else.
        let tag = property.get("const").and_then(Json::as_str);
        let given = node.as_table().and_then(|table| table.get(name)).and_then(|(_, value)| value.as_str());
        matches!((tag, given), (Some(tag), Some(given)) if tag != given)
    });
    if excluded {
        return;
    }
    branches.push(schema);
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema.get(key).and_then(Json::as_array).into_iter().flatten() {
            flatten(branch, definitions, node, branches);
        }
    }
}

fn accepts_anything(schema: &Json, node: &Node) -> bool {
    match schema {
        Json::Bool(accepts) => *accepts,
        Json::Object(object) => {
            let speaks = |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
            let is_table = object.get("type") == Some(&json!("object")) && node.as_table().is_some();
            let restricts = speaks(&[
                "properties",
                "additionalProperties",
                "unevaluatedProperties",
                "oneOf",
                "anyOf",
                "allOf",
                "$ref",
            ]);
            !restricts && (is_table || !speaks(&["type", "enum", "const", "items", "not"]))
        }
        _ => false,
    }
}
