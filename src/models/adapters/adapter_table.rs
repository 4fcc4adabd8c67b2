//! The `adapter` table of a pipeline file's method, with the place of every mistake.

use super::{
    adapter_method::AdapterKind,
    adapter_registry::{METHODS, kind, owners},
    adapter_spec::AdapterSpec,
};
use crate::config::{Diagnostic, Node, Value, suggest};

/// # Errors
/// Everything that is wrong with the table.
pub fn read_adapter(node: &Node) -> Result<AdapterSpec, Vec<Diagnostic>> {
    let Some(table) = node.as_table() else { return Err(vec![no_table(node)]) };
    let method = method(node).map_err(|diagnostic| vec![diagnostic])?;
    let keys = method.keys();
    let foreign = |key: &str| if keys.iter().any(|own| own == key) { None } else { owners(key).first().copied() };
    let mut diagnostics: Vec<Diagnostic> = table
        .iter()
        .filter_map(|(name, (key, _))| {
            let owner = foreign(name)?;
            let message = format!(
                "`{name}` belongs to `kind = \"{}\"`, but this adapter has `kind = \"{}\"`",
                owner.name, method.name
            );
            Some(Diagnostic::new(message).at(key.span))
        })
        .collect();
    let own = table.iter().filter(|(name, _)| *name != "kind" && foreign(name).is_none());
    let own = Node::new(node.span, Value::Table(own.map(|(name, entry)| (name.clone(), entry.clone())).collect()));
    match (method.from_node)(&own) {
        Err(more) => diagnostics.extend(more),
        Ok(options) => match options.check() {
            Ok(()) if diagnostics.is_empty() => return Ok(AdapterSpec::new(options)),
            Ok(()) => (),
            Err(wrong) => {
                diagnostics.push(Diagnostic::new(wrong.message).at(node.get(wrong.key).map_or(node.span, |n| n.span)));
            }
        },
    }
    Err(diagnostics)
}

fn method(node: &Node) -> Result<&'static AdapterKind, Diagnostic> {
    let Some(name) = node.get("kind") else {
        return Err(Diagnostic::new("the key `kind` is missing")
            .at(node.span)
            .label("in this table")
            .help(format!("add `kind = ...`, one of {}", kinds())));
    };
    let Some(text) = name.as_str() else {
        let found = name.kind_name();
        return Err(Diagnostic::new(format!("`kind` must be a string, not {found}")).at(name.span).label(found));
    };
    kind(text).ok_or_else(|| {
        Diagnostic::new(format!("`{text}` is no value of `kind`")).at(name.span).help(match near(text) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known values: {}", kinds()),
        })
    })
}

/// What isn't a table may still tell what is meant.
fn no_table(node: &Node) -> Diagnostic {
    let found = node.kind_name();
    let meant = node.as_str().and_then(near).unwrap_or("lora");
    Diagnostic::new(format!("`adapter` must be a table, not {found}"))
        .at(node.span)
        .label(found)
        .help(format!("write `adapter = {{ kind = \"{meant}\" }}`, with the method's options in the same table"))
}

fn near(word: &str) -> Option<&'static str> {
    suggest(word, METHODS.iter().map(|kind| kind.name))
}

fn kinds() -> String {
    METHODS.iter().map(|kind| format!("`{}`", kind.name)).collect::<Vec<_>>().join(", ")
}
