//! Planning of `dataset-table`: its keys, with every dataset looked up.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{Diagnostic, Spanned},
    data::Card,
    engine::ResolveContext,
    fetch::Source,
    report::{DatasetEntry, DatasetLayout, Published},
    stages::lookup::{definition_at, span},
};

/// Writes the datasets behind prepared examples as a table, in Markdown and CSV: sizes, classes, files, and how they
/// differ from published figures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DatasetTableStage")]
pub struct DatasetTableOptions {
    /// Name of the table's files, without extension.
    name: Spanned<String>,
    /// Heading.
    title: String,
    /// What a reader must know, an item each.
    #[serde(default)]
    notes: Vec<String>,
    /// Rows from top to bottom: names of datasets.
    datasets: Vec<Spanned<String>>,
    /// Where the published figures are from.
    #[serde(default)]
    publication: Option<String>,
    /// Published figures, by dataset.
    #[serde(default)]
    published: BTreeMap<String, Published>,
}

/// Looks every name up, and finds all mistakes at once.
pub(super) fn layout(cx: &ResolveContext, mut options: DatasetTableOptions) -> Result<DatasetLayout, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if options.name.is_empty() || !options.name.chars().all(plain) {
        diagnostics.push(
            Diagnostic::new(format!("`{}` can't name a table's files", options.name.value))
                .at(options.name.span)
                .help("use lower-case letters, digits, `-` and `_`, such as `table-1`"),
        );
    }
    if options.datasets.is_empty() {
        diagnostics.push(Diagnostic::new("a table of datasets needs some").at(span(cx, "datasets")));
    }
    let mut seen = BTreeSet::new();
    let mut datasets = Vec::new();
    for name in &options.datasets {
        if !seen.insert(name.value.clone()) {
            diagnostics.push(Diagnostic::new(format!("the dataset `{}` is listed twice", name.value)).at(name.span));
            continue;
        }
        match definition_at::<Card>(cx, "dataset", name, name.span) {
            Ok(card) => datasets.push(entry(&name.value, card, options.published.remove(&name.value))),
            Err(found) => diagnostics.extend(found),
        }
    }
    for name in options.published.keys().filter(|name| !seen.contains(*name)) {
        diagnostics.push(
            Diagnostic::new(format!("`{name}` has published figures and isn't among the table's `datasets`"))
                .at(span(cx, "published"))
                .help("list it, or remove its figures"),
        );
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    Ok(DatasetLayout {
        name: options.name.value,
        title: options.title,
        notes: options.notes,
        publication: options.publication.unwrap_or_else(|| "a publication".to_owned()),
        datasets,
    })
}

fn entry(name: &str, card: Card, published: Option<Published>) -> DatasetEntry {
    // Where a file lies on this machine is nobody's business but the machine's.
    let url = |source: serde_json::Value| {
        let source: Source = serde_json::from_value(source).ok()?;
        if source.local_path().is_some() { None } else { source.url }
    };
    DatasetEntry {
        name: name.to_owned(),
        title: card.title,
        description: card.description,
        domain: card.domain,
        homepage: card.homepage,
        citation: card.citation,
        urls: card.source.into_iter().filter_map(|(file, source)| Some((file, url(source)?))).collect(),
        published,
    }
}
