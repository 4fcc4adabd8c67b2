//! The `source` tables of a pipeline's definitions.

use std::collections::HashSet;

use super::{download_table::NAME, source_entry::SourceEntry};
use crate::{
    config::{self, Diagnostic, Node, Span, Spec, Table, from_node},
    fetch::Source,
};

/// All sources that the pipeline's stages download, in the order of the files. Of a card that nothing reads nothing is asked.
///
/// # Errors
/// Every source that can't be read.
pub fn used_sources(spec: &Spec) -> Result<Vec<SourceEntry>, Vec<Diagnostic>> {
    let mut entries = Vec::new();
    let mut diagnostics = Vec::new();
    let used = used(spec);
    for (kind, definitions) in &spec.definitions {
        for (name, definition) in definitions {
            let table = source_table(definition).filter(|_| used.contains(format!("{kind}.{name}").as_str()));
            if let Some(table) = table {
                match read_table(spec, [kind, name], table) {
                    Ok(found) => entries.extend(found),
                    Err(found) => diagnostics.extend(found),
                }
            }
        }
    }
    if diagnostics.is_empty() { Ok(entries) } else { Err(diagnostics) }
}

/// The definitions, as `KIND.NAME`, whose sources some stage downloads.
fn used(spec: &Spec) -> HashSet<&str> {
    let downloads = spec.stages.iter().filter(|stage| stage.kind == NAME);
    downloads.flat_map(|stage| &stage.actions).filter_map(|action| action.params.get("from")?.as_str()).collect()
}

/// The sources of the definition `KIND.NAME`. Diagnostics without a span concern the name itself.
///
/// # Errors
/// If there is no such definition, or it has a source that can't be read.
pub(super) fn sources(spec: &Spec, from: &str) -> Result<Vec<SourceEntry>, Vec<Diagnostic>> {
    let path = from.split_once('.');
    let definition = path.and_then(|(kind, name)| spec.definitions.get(kind)?.get(name));
    let Some(((kind, name), definition)) = path.zip(definition) else {
        return Err(vec![unknown(spec, from, format!("there is no definition `{from}`"))]);
    };
    let Some(table) = source_table(definition).filter(|table| !table.is_empty()) else {
        return Err(vec![unknown(
            spec,
            from,
            format!("`{from}` has no `source` table, so there is nothing to download"),
        )]);
    };
    read_table(spec, [kind, name], table)
}

fn unknown(spec: &Spec, from: &str, message: String) -> Diagnostic {
    let with_sources: Vec<_> = spec
        .definitions
        .iter()
        .flat_map(|(kind, all)| all.iter().map(move |(name, definition)| (kind, name, definition)))
        .filter(|(_, _, definition)| source_table(definition).is_some())
        .map(|(kind, name, _)| format!("{kind}.{name}"))
        .collect();
    let help = match config::suggest(from, with_sources.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if with_sources.is_empty() => {
            "no definition has a `source` table yet: write one as [dataset.NAME.source.\"FILE\"] with a `url`"
                .to_owned()
        }
        None => format!("definitions with a `source` table: {}", with_sources.join(", ")),
    };
    Diagnostic::new(message).help(help)
}

fn source_table(definition: &Node) -> Option<&Table> {
    definition.get("source")?.as_table()
}

fn read_table(spec: &Spec, [kind, name]: [&str; 2], table: &Table) -> Result<Vec<SourceEntry>, Vec<Diagnostic>> {
    let mut entries = Vec::new();
    let mut diagnostics = Vec::new();
    for (file, (key, node)) in table {
        match from_node::<Source>(node) {
            Ok(source) => {
                if let Err(e) = source.check() {
                    let span = child_span(node, "url", None).unwrap_or(node.span);
                    diagnostics.push(Diagnostic { help: e.help, ..Diagnostic::new(e.message).at(span) });
                }
                entries.push(SourceEntry {
                    key: [kind, name, "source", file].map(str::to_owned),
                    name: file.clone(),
                    source: source.relative_to(&spec.pipeline.root),
                    span: key.span,
                });
            }
            Err(found) => diagnostics.extend(found),
        }
    }
    if diagnostics.is_empty() { Ok(entries) } else { Err(diagnostics) }
}

/// Where a key's value, or an element of its list, is written.
pub(super) fn child_span(node: &Node, key: &str, index: Option<usize>) -> Option<Span> {
    let child = node.get(key)?;
    match (child.as_array(), index) {
        (Some(items), Some(i)) => items.get(i).map(|item| item.span),
        _ => Some(child.span),
    }
}
