//! The kind `download`: the files of a definition's `source` table, each proved by its pin.

use std::collections::BTreeMap;

use super::{
    download_resolve, download_run,
    download_table::{DownloadParams, DownloadTable, NAME},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    engine::{Context, ResolveContext, Resolved, TypedStage},
    fetch::{Fetcher, Settings, Source},
};

/// Fetches the files of a definition.
pub struct Download;

impl TypedStage for Download {
    const NAME: &'static str = NAME;
    const VERSION: u32 = 1;
    type Table = DownloadTable;
    type Params = DownloadParams;

    fn resolve(cx: &ResolveContext, table: DownloadTable) -> Result<Resolved<DownloadParams>, Vec<Diagnostic>> {
        download_resolve::resolve(cx, &table)
    }

    fn outputs(params: &DownloadParams) -> Option<Vec<String>> {
        Some(params.files.keys().cloned().collect())
    }

    fn run(cx: &Context, _: DownloadParams) -> Result<()> {
        download_run::run(cx, &Fetcher::new(Settings::from_env()))
    }
}

/// File name and source of everything that a resolved action would fetch; nothing for other kinds.
pub fn to_fetch(kind: &str, resolved: &Resolved) -> BTreeMap<String, Source> {
    let sources = (kind == Download::NAME).then(|| serde_json::from_value(resolved.private.clone()).ok());
    sources.flatten().unwrap_or_default()
}
