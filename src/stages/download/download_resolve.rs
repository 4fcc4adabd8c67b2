//! Planning of `download`: the files that are meant, each with its pin.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, json};

use super::{
    download_table::{DownloadParams, DownloadTable},
    source_entry::SourceEntry,
    source_tables::{child_span, sources},
};
use crate::{
    base::machine::Resources,
    config::{Diagnostic, Node},
    engine::{ResolveContext, Resolved},
    estimate::Transfer,
};

/// The description of a download.
///
/// # Errors
/// All that is wrong with the stage, local files that have changed, and sources without a pin.
pub(super) fn resolve(cx: &ResolveContext, table: &DownloadTable) -> Result<Resolved<DownloadParams>, Vec<Diagnostic>> {
    let mut selected = sources(cx.spec, &table.from).map_err(|mut diagnostics| {
        for diagnostic in &mut diagnostics {
            diagnostic.span = diagnostic.span.or(child_span(&cx.action.params, "from", None));
        }
        diagnostics
    })?;
    if let Some(only) = &table.only {
        check_selection(only, &selected, &cx.action.params)?;
        selected.retain(|entry| only.contains(&entry.name));
    }
    let changed: Vec<_> = selected.iter().filter_map(|entry| entry.changed(&cx.spec.tracked_fs)).collect();
    if !changed.is_empty() {
        return Err(changed);
    }
    described(cx, selected)
}

/// The download of these files.
fn described(cx: &ResolveContext, selected: Vec<SourceEntry>) -> Result<Resolved<DownloadParams>, Vec<Diagnostic>> {
    let (mut missing, mut unpinned, mut keyless) = (Vec::new(), Vec::new(), false);
    let size = selected.iter().filter_map(|entry| entry.source.size).sum();
    let (mut files, mut origins, mut private) = (IndexMap::new(), Map::new(), Map::new());
    for entry in selected {
        let absent = entry.absent(&cx.spec.tracked_fs);
        match entry.source.pin() {
            Some(pin) => {
                files.insert(entry.name.clone(), pin.to_string());
                private.insert(entry.name.clone(), json!(entry.source));
                origins.insert(entry.name, json!(entry.source.without_credentials()));
            }
            None if absent.is_some() => keyless = true,
            None => unpinned.push(
                Diagnostic::new(format!(
                    "`{}` has no `blake3` or `sha256`, so nobody could tell whether it is the right file",
                    entry.name
                ))
                .at(entry.span)
                .label("not pinned")
                .help("run `emopipe pin PIPELINE`, which downloads it once and writes its hash"),
            ),
        }
        missing.extend(absent);
    }
    if !unpinned.is_empty() {
        return Err(unpinned);
    }
    Ok(Resolved {
        unkeyed: origins.into(),
        private: private.into(),
        resources: Resources { cores: 1, memory: 256 << 20, gpus: 0 },
        time: Some(Arc::new(Transfer(size))),
        retries: 3,
        missing,
        keyless,
        ..Resolved::of(DownloadParams { files })
    })
}

/// Every name in `only` must be a file of the table.
fn check_selection(only: &[String], entries: &[SourceEntry], params: &Node) -> Result<(), Vec<Diagnostic>> {
    let have: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let complain = |message: String, index: Option<usize>| {
        Diagnostic::new(message).at(child_span(params, "only", index)).help(format!("it has: {}", have.join(", ")))
    };
    let mut diagnostics: Vec<_> = only
        .iter()
        .enumerate()
        .filter(|(_, name)| !have.contains(&name.as_str()))
        .map(|(i, name)| complain(format!("the `source` table has no file `{name}`"), Some(i)))
        .collect();
    if only.is_empty() {
        diagnostics.push(complain("`only` is empty, so nothing would be downloaded".into(), None));
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}
