//! `[remote]`: where results are shared, as a pipeline file or the user's own configuration says it.

use std::path::{Path, PathBuf};

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Diagnostic, Node, SourceMap, Span, Spanned, Value, de::from_node, diagnostic::Sink, parse::parse_text,
    source_files::tidy, suggest::help_for,
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

/// What one file says of the remote store; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteConfig {
    pub place: Option<RemotePlace>,
    pub pull: Option<bool>,
    pub push: Option<bool>,
    /// Requests at once, at least 1.
    pub concurrency: Option<u32>,
    /// Seconds, at least 1.
    pub timeout: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemotePlace {
    /// A folder, on a shared filesystem as a rule.
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A part of an object storage service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub service: Service,
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    S3,
    Gcs,
    Azure,
}

const SERVICES: [(&str, Service); 3] = [("s3", Service::S3), ("gs", Service::Gcs), ("az", Service::Azure)];

impl RemoteConfig {
    /// This, with `other` where this says nothing. A place is taken as a whole, so that one file's bucket never meets
    /// another's endpoint.
    pub fn or(self, other: Self) -> Self {
        Self {
            place: self.place.or(other.place),
            pull: self.pull.or(other.pull),
            push: self.push.or(other.push),
            concurrency: self.concurrency.or(other.concurrency),
            timeout: self.timeout.or(other.timeout),
        }
    }
}

impl std::fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket(Bucket { service, name, prefix, .. }) => {
                let scheme = SERVICES.iter().find(|(_, s)| s == service).map_or("", |(scheme, _)| scheme);
                write!(f, "{scheme}://{name}")?;
                if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
            }
        }
    }
}

/// The user's own settings and everything that is wrong with them.
#[derive(Debug, Default)]
pub struct UserConfig {
    pub path: PathBuf,
    pub remote: RemoteConfig,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads `emopipe/config.toml` in `XDG_CONFIG_HOME`, else in `.config` of the home folder. No such file is no problem.
pub fn user_config(tracked_fs: &TrackedFs) -> UserConfig {
    user_config_path().map_or_else(UserConfig::default, |path| user_config_at(path, tracked_fs))
}

/// Where the user's own settings would be.
pub fn user_config_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("emopipe/config.toml"))
}

fn user_config_at(path: PathBuf, tracked_fs: &TrackedFs) -> UserConfig {
    let mut config = UserConfig { path, ..UserConfig::default() };
    let text = match tracked_fs.read_to_string(&config.path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return config,
        Err(e) => {
            config.diagnostics.push(Diagnostic::new(format!("can't read {}: {e}", config.path.display())));
            return config;
        }
    };
    let mut sink = Sink::default();
    let file = config.sources.add(config.path.clone(), text.as_str());
    let (table, problems) = parse_text(file, &text);
    sink.extend(problems);
    for (name, (key, node)) in &table {
        if name == "remote" {
            config.remote = read(node, tracked_fs, &mut config.sources, &mut sink);
        } else {
            let help = help_for(name, &["remote"], "tables");
            sink.push(Diagnostic::new(format!("unknown table `{name}`")).at(key.span).help(help));
        }
    }
    config.diagnostics = sink.finish().0;
    config
}

/// Reads a `[remote]` table. Credentials in it are refused, and blotted out in `sources`, so that no excerpt shows them.
pub(super) fn read(node: &Node, tracked_fs: &TrackedFs, sources: &mut SourceMap, sink: &mut Sink) -> RemoteConfig {
    let mut node = node.clone();
    let mut refused = false;
    if let Value::Table(table) = &mut node.value {
        table.retain(|name, (key, value)| {
            let problem = if names_credential(name) {
                Diagnostic::new(format!("`remote.{name}`: credentials don't belong in a file")).at(key.span)
            } else if holds_credential(value) {
                Diagnostic::new(format!("`remote.{name}` holds more than an address"))
                    .at(value.span)
                    .label("user names, passwords and signatures don't belong here")
            } else {
                return true;
            };
            blot_out(value, sources);
            sink.push(problem.help(CREDENTIALS_HELP));
            refused = true;
            false
        });
    }
    let table: RemoteTable = match from_node(&node) {
        Ok(table) if !refused => table,
        Ok(_) => return RemoteConfig::default(),
        Err(problems) => {
            sink.extend(problems);
            return RemoteConfig::default();
        }
    };
    let place = table.url.as_ref().and_then(|url| match place(url, &table, tracked_fs, sources) {
        Ok(place) => Some(place),
        Err(problem) => {
            sink.push(problem);
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

const CREDENTIALS_HELP: &str = "delete it here, and set the service's environment variables (AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY); if the \
     file was ever shared, replace the credential too";

fn names_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    ["secret", "token", "password", "credential", "access_key", "account_key", "api_key", "private_key", "sas"]
        .iter()
        .any(|word| key.contains(word))
}

/// User, password and query are how credentials travel in URLs.
fn holds_credential(node: &Node) -> bool {
    match &node.value {
        Value::Str(text) => text.contains("://") && text.contains(['@', '?', '#']),
        Value::Array(items) => items.iter().any(holds_credential),
        Value::Table(table) => table.values().any(|(_, child)| holds_credential(child)),
        _ => false,
    }
}

fn blot_out(node: &Node, sources: &mut SourceMap) {
    match &node.value {
        Value::Table(table) => table.values().for_each(|(_, child)| blot_out(child, sources)),
        Value::Array(items) => items.iter().for_each(|child| blot_out(child, sources)),
        _ => sources.blot_out(node.span),
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
                let problem = Diagnostic::new("`endpoint` must begin with https://, or http:// on this machine");
                return Err(problem.at(endpoint.span));
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

impl SourceMap {
    /// Replaces what `span` covers by asterisks, byte for byte.
    fn blot_out(&mut self, span: Span) {
        let Some((_, text)) = self.files.get_mut(span.file as usize) else { return };
        let (start, end) = (span.start as usize, span.end as usize);
        if let (Some(before), Some(covered), Some(after)) = (text.get(..start), text.get(start..end), text.get(end..)) {
            // Line breaks stay, so that no other span changes its line.
            let stars: String = covered.bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
            *text = format!("{before}{stars}{after}").into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::render;

    fn config(text: &str) -> UserConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        user_config_at(path, &TrackedFs::default())
    }

    fn place_of(url: &str) -> RemotePlace {
        let found = config(&format!("[remote]\nurl = {url:?}"));
        assert!(found.diagnostics.is_empty(), "{url}: {:?}", found.diagnostics);
        found.remote.place.unwrap()
    }

    fn problems(text: &str) -> String {
        let found = config(text);
        render(&found.diagnostics, &found.sources)
    }

    #[test]
    fn every_kind_of_place_is_understood() {
        assert_eq!(place_of("/shared/results"), RemotePlace::Folder("/shared/results".into()));
        assert_eq!(place_of("file:///shared/a%20b"), RemotePlace::Folder("/shared/a b".into()));
        assert!(
            matches!(place_of("shared"), RemotePlace::Folder(path) if path.is_absolute() && path.ends_with("shared"))
        );
        for (url, service) in [
            ("s3://my_bucket/a/b/", Service::S3),
            ("gs://my_bucket/a/b", Service::Gcs),
            ("az://my_bucket/a/b", Service::Azure),
        ] {
            let RemotePlace::Bucket(bucket) = place_of(url) else { panic!("{url}") };
            assert_eq!((bucket.service, bucket.name.as_str(), bucket.prefix.as_str()), (service, "my_bucket", "a/b"));
            assert_eq!(place_of(url).to_string(), url.trim_end_matches('/'));
        }
        assert_eq!(place_of("s3://b").to_string(), "s3://b");
    }

    #[test]
    fn what_cannot_be_meant_is_explained() {
        for (text, part) in [
            ("[remote]\nurll = 'x'", "did you mean `url`?"),
            ("[remot]\nurl = 'x'", "did you mean `remote`?"),
            ("[remote]\nurl = 'ftp://x/y'", "`ftp://` is no kind of remote"),
            ("[remote]\nurl = 's3:///x'", "names no bucket"),
            ("[remote]\nurl = ''", "`url` is empty"),
            ("[remote]\nurl = 'x'\nregion = 'y'", "means nothing for a folder"),
            ("[remote]\nendpoint = 'https://x'", "stands without a `url`"),
            ("[remote]\nurl = 's3://x'\nendpoint = 'x.org'", "is no address"),
            ("[remote]\nurl = 's3://x'\nendpoint = 'ftp://x.org'", "must begin with https://"),
            ("[remote]\nconcurrency = 0", "from 1 to 256"),
            ("[remote]\ntimeout = -1", "`timeout` must be"),
            ("[remote]\npush = 'no'", "`push` must be true or false"),
        ] {
            let found = problems(text);
            assert!(found.contains(part), "{text}:\n{found}");
        }
    }

    #[test]
    fn credentials_are_refused_and_shown_nowhere() {
        for text in [
            "[remote]\nsecret_access_key = 'CANARY'\nurl = 's3://b'",
            "[remote]\nurl = 's3://b'\n[remote.credentials]\nkey = ['CANARY']",
            "[remote]\nurl = 's3://AKIA:CANARY@b/p'",
            "[remote]\nurl = 's3://b/p?X-Amz-Signature=CANARY'",
            "[remote]\nurl = 'az://c/p?sig=CANARY'\npsuh = true",
            "[remote]\nurl = 's3://b'\nendpoint = 'https://u:CANARY@host/'",
            "[remote]\nurl = ['s3://u:CANARY@b']",
            "[remote]\nsas-token = \"\"\"\nCANARY\n\"\"\"\npsuh = 1",
        ] {
            let found = problems(text);
            assert!(found.contains("environment variables"), "{text}:\n{found}");
            assert!(!found.contains("CANARY"), "{text}:\n{found}");
        }
    }

    #[test]
    fn a_place_is_never_mixed_from_two_files() {
        let pipeline = config("[remote]\nurl = 's3://theirs'\npush = false").remote;
        let user = config("[remote]\nurl = 's3://mine'\nendpoint = 'https://x.org'\npush = true\ntimeout = 5").remote;
        let merged = pipeline.clone().or(user.clone());
        assert_eq!((&merged.place, merged.push, merged.timeout), (&pipeline.place, Some(false), Some(5)));
        assert_eq!(RemoteConfig::default().or(user.clone()), user);
    }
}
