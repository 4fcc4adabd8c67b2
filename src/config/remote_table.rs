//! `[remote]`: where results are shared, as a pipeline file or the user's own configuration says it.

use std::path::{Path, PathBuf};

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    from_node::from_node,
    node::{Node, Value},
    remote_config::{Bucket, RemoteConfig, RemotePlace, SERVICES, Service},
    source_files::tidy,
    source_map::SourceMap,
    spanned::Spanned,
    written_credentials::{CREDENTIALS_HELP, blot_out, holds_credential, names_credential},
};
use crate::base::tracked_fs::TrackedFs;

/// Where results are shared between machines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteTable {
    /// A folder (relative to this file), or `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix`.
    url: Option<Spanned<String>>,
    /// Web address of an S3-compatible server, where it isn't Amazon's.
    endpoint: Option<Spanned<String>>,
    /// Region of the bucket.
    region: Option<Spanned<String>>,
    /// Whether `run` takes results from the remote (default true).
    pull: Option<bool>,
    /// Whether `run` sends what it computes to the remote (default true).
    push: Option<bool>,
    /// Most requests at once (default 8).
    concurrency: Option<Spanned<u32>>,
    /// Seconds without an answer after which a request is tried again (default 60).
    timeout: Option<Spanned<u32>>,
}

/// Reads a `[remote]` table. Credentials in it are refused, and blotted out in `sources`, so that no excerpt shows them.
pub(super) fn read_remote(
    node: &Node,
    tracked_fs: &TrackedFs,
    sources: &mut SourceMap,
    sink: &mut Sink,
) -> RemoteConfig {
    let mut node = node.clone();
    let mut refused = false;
    if let Value::Table(table) = &mut node.value {
        table.retain(|name, (key, value)| {
            let diagnostic = if names_credential(name) {
                Diagnostic::new(format!("`remote.{name}`: credentials don't belong in a file")).at(key.span)
            } else if holds_credential(value) {
                Diagnostic::new(format!("`remote.{name}` holds more than an address"))
                    .at(value.span)
                    .label("user names, passwords and signatures don't belong here")
            } else {
                return true;
            };
            blot_out(value, sources);
            sink.push(diagnostic.help(CREDENTIALS_HELP));
            refused = true;
            false
        });
    }
    let table: RemoteTable = match from_node(&node) {
        Ok(table) if !refused => table,
        Ok(_) => return RemoteConfig::default(),
        Err(diagnostics) => {
            sink.extend(diagnostics);
            return RemoteConfig::default();
        }
    };
    let place = table.url.as_ref().and_then(|url| match place(url, &table, tracked_fs, sources) {
        Ok(place) => Some(place),
        Err(diagnostic) => {
            sink.push(diagnostic);
            None
        }
    });
    if table.url.is_none() {
        for (key, value) in [("endpoint", &table.endpoint), ("region", &table.region)] {
            if let Some(value) = value {
                let help = "say which bucket it belongs to: `url = \"s3://bucket/prefix\"`";
                sink.push(Diagnostic::new(format!("`{key}` stands without a `url`")).at(value.span).help(help));
            }
        }
    }
    let mut positive = |key: &str, value: Option<Spanned<u32>>, most: u32| {
        let value = value?;
        if (1..=most).contains(&value.value) {
            return Some(value.value);
        }
        sink.push(Diagnostic::new(format!("`{key}` must be from 1 to {most}, not {}", value.value)).at(value.span));
        None
    };
    RemoteConfig {
        place,
        pull: table.pull,
        push: table.push,
        concurrency: positive("concurrency", table.concurrency, 256),
        timeout: positive("timeout", table.timeout, 86_400),
    }
}

fn place(
    url: &Spanned<String>,
    table: &RemoteTable,
    tracked_fs: &TrackedFs,
    sources: &SourceMap,
) -> Result<RemotePlace, Diagnostic> {
    let text = url.as_str();
    let wrong = |why: String| Diagnostic::new(why).at(url.span);
    let parsed = if text.contains("://") { Some(address(url)?) } else { None };
    let no_options = |folder: PathBuf| {
        let options = [("endpoint", &table.endpoint), ("region", &table.region)];
        match options.into_iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
            Some((key, value)) => Err(Diagnostic::new(format!("`{key}` means nothing for a folder")).at(value.span)),
            None => Ok(RemotePlace::Folder(folder)),
        }
    };
    let parsed = match parsed {
        None if text.is_empty() => return Err(wrong("`url` is empty".to_owned()).help("name a folder or a bucket")),
        None => {
            let written_in = url.span.and_then(|span| sources.path(span)).and_then(Path::parent);
            return no_options(tidy(&written_in.unwrap_or(Path::new("")).join(text), tracked_fs));
        }
        Some(parsed) if parsed.scheme() == "file" => {
            let folder = parsed.to_file_path().map_err(|()| {
                wrong(format!("`{text}` names no folder")).help("write `file:///folder`, with three slashes")
            })?;
            return no_options(folder);
        }
        Some(parsed) => parsed,
    };
    let scheme = parsed.scheme();
    let Some((_, service)) = SERVICES.iter().find(|(known, _)| *known == scheme) else {
        return Err(wrong(format!("`{scheme}://` is no kind of remote")).help(
            "known kinds: a folder, `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`",
        ));
    };
    let Some(name) = parsed.host_str().filter(|name| !name.is_empty()) else {
        return Err(wrong(format!("`{text}` names no bucket")).help(format!("write `{scheme}://bucket/prefix`")));
    };
    let endpoint = match &table.endpoint {
        None => None,
        Some(endpoint) => {
            let parsed = address(endpoint)?;
            if !matches!(parsed.scheme(), "https" | "http") {
                let diagnostic = Diagnostic::new("`endpoint` must begin with https://, or http:// on this machine");
                return Err(diagnostic.at(endpoint.span));
            }
            Some(endpoint.value.clone())
        }
    };
    if let Some(region) = table.region.as_ref().filter(|_| *service != Service::S3) {
        return Err(Diagnostic::new(format!("`region` means nothing for {scheme}://")).at(region.span));
    }
    Ok(RemotePlace::Bucket(Bucket {
        service: *service,
        name: name.to_owned(),
        prefix: parsed.path().trim_matches('/').to_owned(),
        endpoint,
        region: table.region.as_ref().map(|region| region.value.clone()),
    }))
}

fn address(text: &Spanned<String>) -> Result<Url, Diagnostic> {
    Url::parse(text.as_str())
        .map_err(|e| Diagnostic::new(format!("`{}` is no address: {e}", text.as_str())).at(text.span))
}
