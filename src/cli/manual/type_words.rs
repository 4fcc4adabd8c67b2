//! Types and values in plain words.

use serde_json::Value as Json;

use super::json_shape::{Bounds, Choice, Shape, Table};

/// What a value may be: `string`, `list of integers`, `` one of `"a"`, `"b"` ``. `table` is what a table with a section of its own
/// is called, where that is not a list of them.
pub(super) fn words(shape: &Shape, table: &str) -> String {
    match shape {
        Shape::Any => "any value".into(),
        Shape::Scalar(name, bounds) => {
            format!("{}{}", if name == "boolean" { "true or false" } else { name }, limits(bounds))
        }
        Shape::Choice(several) if several.len() > 1 => format!("one of {}", values(several)),
        Shape::Choice(one) => values(one),
        Shape::List(items, length) => format!("list of {}", counted(items, *length, table)),
        Shape::Map(values) if **values == Shape::Any => "table".into(),
        Shape::Map(values) => format!("table of {} by name", several(values, table)),
        Shape::Table(inner) => match uniform(inner) {
            Some(first) => format!("table of {} by {}", several(first, table), names(inner)),
            None => table.to_owned(),
        },
        Shape::Either(shapes) if is_single(shapes) => "single value".into(),
        Shape::Either(shapes) => alternatives(shapes, |shape| words(shape, table)),
        Shape::Again => "table with the same keys".into(),
    }
}

/// Several values of one shape.
fn several(shape: &Shape, table: &str) -> String {
    match shape {
        Shape::Any => "any values".into(),
        Shape::Scalar(name, bounds) => format!("{name}s{}", limits(bounds)),
        Shape::Choice(several) => values(several),
        Shape::List(items, length) => format!("lists of {}", counted(items, *length, table)),
        Shape::Map(values) if **values == Shape::Any => "tables".into(),
        Shape::Map(values) => format!("tables of {} by name", several(values, table)),
        Shape::Table(inner) => match uniform(inner) {
            Some(first) => format!("tables of {} by {}", several(first, table), names(inner)),
            // A link keeps its target.
            None => table.replacen("table", "tables", 1),
        },
        Shape::Either(shapes) if is_single(shapes) => "single values".into(),
        Shape::Either(shapes) => alternatives(shapes, |shape| several(shape, table)),
        Shape::Again => "tables with the same keys".into(),
    }
}

fn counted(items: &Shape, length: Option<u64>, table: &str) -> String {
    let length = length.map_or_else(String::new, |length| format!("{length} "));
    length + &several(items, table)
}

/// A value as TOML writes it, in backticks.
pub(super) fn value(json: &Json) -> String {
    format!("`{}`", toml(json))
}

fn toml(json: &Json) -> String {
    match json {
        Json::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Object(table) => {
            let pairs: Vec<_> = table.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        scalar => scalar.to_string(),
    }
}

/// Whether a table has a section of its own: something is said of its keys, or they differ.
pub(super) fn has_section(table: &Table) -> bool {
    let first = table.keys.first().map(|key| &key.shape);
    let alike = table.keys.iter().all(|key| key.description.is_empty() && Some(&key.shape) == first);
    !table.variants.is_empty() || !alike
}

/// The one shape of all keys of a small table that needs no section.
fn uniform(table: &Table) -> Option<&Shape> {
    let first = &table.keys.first()?.shape;
    (!has_section(table)).then_some(first)
}

fn names(table: &Table) -> String {
    table.keys.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ")
}

fn values(choices: &[Choice]) -> String {
    choices.iter().map(|choice| value(&choice.value)).collect::<Vec<_>>().join(", ")
}

fn limits(bounds: &Bounds) -> String {
    match (&bounds.least, &bounds.most) {
        (None, None) => String::new(),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (Some(least), Some(most)) => format!(", {least} to {most}"),
    }
}

/// Whether anything fits that is neither a list nor a table.
fn is_single(shapes: &[Shape]) -> bool {
    let plain = |name: &str| shapes.contains(&Shape::Scalar(name.into(), Bounds::default()));
    shapes.iter().all(|shape| matches!(shape, Shape::Scalar(..)))
        && ["string", "number", "boolean"].into_iter().all(plain)
}

fn alternatives(shapes: &[Shape], in_words: impl Fn(&Shape) -> String) -> String {
    let all: Vec<_> = shapes.iter().map(in_words).collect();
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => all.concat(),
    }
}
