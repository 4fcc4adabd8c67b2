//! `download`: the files of a definition's `source` table, each proved by its pin.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::local;
use crate::estimate::time::Transfer;
use crate::{
    base::{
        error::{Error, Result},
        tracked_fs::TrackedFs,
    },
    config::{self, Diagnostic, Node, Span, Spec, Table, from_node},
    engine::{Context, Progress, ResolveContext, Resolved, Resources, StageKind},
    fetch::{Fetcher, Settings, Source, Watch},
};

/// The stage's own keys.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// `KIND.NAME` of a definition that has a `source` table, for example `dataset.movies`.
    from: String,

    /// Only these files of the `source` table; all of them if left out.
    #[serde(default)]
    only: Option<Vec<String>>,
}

pub struct Download;

impl StageKind for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn version(&self) -> u32 {
        1
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Params>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Params::json_schema(generator)
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let params: Params = from_node(&cx.action.params)?;
        let mut selected = sources(cx.spec, &params.from).map_err(|mut diagnostics| {
            for diagnostic in &mut diagnostics {
                diagnostic.span = diagnostic.span.or(child_span(&cx.action.params, "from", None));
            }
            diagnostics
        })?;
        if let Some(only) = &params.only {
            check_selection(only, &selected, &cx.action.params)?;
            selected.retain(|entry| only.contains(&entry.name));
        }
        let changed: Vec<_> = selected.iter().filter_map(|entry| entry.changed(&cx.spec.tracked_fs)).collect();
        if !changed.is_empty() {
            return Err(changed);
        }
        let (mut missing, mut unpinned, mut keyless) = (Vec::new(), Vec::new(), false);
        let size = selected.iter().filter_map(|entry| entry.source.size).sum();
        let mut files = serde_json::Map::new();
        let mut origins = serde_json::Map::new();
        let mut private = serde_json::Map::new();
        for entry in selected {
            let absent = entry.absent(&cx.spec.tracked_fs);
            match entry.source.pin() {
                Some(pin) => {
                    files.insert(entry.name.clone(), json!(pin));
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
            // What can change the artifact: names and contents. Where the bytes come from can't.
            params: json!({ "files": files }),
            unkeyed: json!(origins),
            private: json!(private),
            resources: Resources { cores: 1, memory: 256 << 20, gpus: 0 },
            work: Some(Arc::new(Transfer(size))),
            retries: 3,
            missing,
            keyless,
            ..Resolved::default()
        })
    }

    fn outputs(&self, params: &serde_json::Value) -> Option<Vec<String>> {
        Some(params.get("files")?.as_object()?.keys().cloned().collect())
    }

    fn run(&self, cx: &Context) -> Result<()> {
        download(cx, &Fetcher::new(Settings::from_env()))
    }
}

/// File name and source of everything that a resolved action would fetch; nothing for other kinds.
pub fn to_fetch(kind: &str, resolved: &Resolved) -> BTreeMap<String, Source> {
    let sources = (kind == Download.name()).then(|| serde_json::from_value(resolved.private.clone()).ok());
    sources.flatten().unwrap_or_default()
}

fn download(cx: &Context, fetcher: &Fetcher) -> Result<()> {
    let pinned: BTreeMap<String, Source> = serde_json::from_value(cx.job.private.clone())
        .map_err(|e| Error::internal(format!("sources of {}: {e}", cx.job.action)))?;
    for (name, source) in &pinned {
        fetcher.check_reachable(source, name)?;
    }
    let mut bytes = 0;
    for (i, (name, source)) in pinned.iter().enumerate() {
        let note = if pinned.len() == 1 { name.clone() } else { format!("{name} ({} of {})", i + 1, pinned.len()) };
        let fetched =
            fetcher.fetch(source, name, cx.out, cx.work_folder()?, &Watched { progress: cx.progress, note })?;
        cx.progress.message(&format!("{name}: {} bytes, BLAKE3 {}", fetched.size, fetched.digest.short()));
        bytes += fetched.size;
    }
    cx.progress.measure("bytes", bytes as f64);
    Ok(())
}

/// Shows a download as the progress of its action.
struct Watched<'a> {
    progress: &'a dyn Progress,
    note: String,
}

impl Watch for Watched<'_> {
    fn bytes(&self, done: u64, total: Option<u64>) {
        self.progress.step(done, total.unwrap_or(done), "byte", &self.note);
    }

    fn note(&self, text: &str) {
        self.progress.message(text);
    }

    fn stop(&self) -> bool {
        self.progress.stop_requested()
    }
}

/// One file of a `source` table.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// The tables that lead to it: `["dataset", "movies", "source", "reviews.txt"]`.
    pub key: [String; 4],
    /// Its name in the artifact.
    pub name: String,
    /// `file:` paths are absolute.
    pub source: Source,
    /// Where the entry is written.
    pub span: Span,
}

impl SourceEntry {
    /// What to tell people where the source is a local file and not the one that is pinned, or can't be read.
    pub fn changed(&self, tracked_fs: &TrackedFs) -> Option<Diagnostic> {
        let place = format!("`{}` of {}.{}", self.name, self.key[0], self.key[1]);
        match local::changed(&self.source, tracked_fs) {
            Ok(None) => None,
            Ok(Some(changed)) => {
                let (key, now) = changed.pins.into_iter().next().unwrap_or_default();
                Some(
                    Diagnostic::new(format!("{place} has changed since it was pinned"))
                        .at(self.span)
                        .label("a local file that was edited or replaced")
                        .help(format!(
                            "if that is meant, `emopipe pin --update PIPELINE` pins the file as it is now, and results follow; else \
                             put the earlier one back\n{key} pinned {}\n{key} found  {now}",
                            changed.pinned
                        )),
                )
            }
            Err(e) => {
                Some(Diagnostic { help: e.help, ..Diagnostic::new(format!("{place}: {}", e.message)).at(self.span) })
            }
        }
    }

    /// What people have to do, where the file is one that they have to fetch by hand and it isn't there.
    pub fn absent(&self, tracked_fs: &TrackedFs) -> Option<Diagnostic> {
        let manual = self.source.manual.as_deref()?.trim();
        let path = self.source.local_path();
        if path.as_ref().is_some_and(|path| tracked_fs.is_file(path)) || !(path.is_some() || self.source.by_hand()) {
            return None;
        }
        let place = path.map_or_else(
            || format!("{}/{} in the data folder", self.key[1], self.name),
            |path| path.display().to_string(),
        );
        let what = format!("`{}` of {}.{} can't be downloaded, and it isn't here", self.name, self.key[0], self.key[1]);
        Some(Diagnostic::new(what).at(self.span).label("to be fetched by hand").help(format!(
            "{manual}\nput it at {place} (`--data DIR` names another folder)\n`emopipe pin PIPELINE` then writes its hash into the card; until then, reports call it \
             a local copy"
        )))
    }
}

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
    let downloads = spec.stages.iter().filter(|stage| stage.kind == Download.name());
    downloads.flat_map(|stage| &stage.actions).filter_map(|action| action.params.get("from")?.as_str()).collect()
}

/// The sources of the definition `KIND.NAME`. Diagnostics without a span concern the name itself.
fn sources(spec: &Spec, from: &str) -> Result<Vec<SourceEntry>, Vec<Diagnostic>> {
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
                    source: source.relative_to(base(spec)),
                    span: key.span,
                });
            }
            Err(found) => diagnostics.extend(found),
        }
    }
    if diagnostics.is_empty() { Ok(entries) } else { Err(diagnostics) }
}

/// The folder that relative `file:` paths start from.
fn base(spec: &Spec) -> &Path {
    &spec.pipeline.root
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

/// Where a key's value, or an element of its list, is written.
fn child_span(node: &Node, key: &str, index: Option<usize>) -> Option<Span> {
    let child = node.get(key)?;
    match (child.as_array(), index) {
        (Some(items), Some(i)) => items.get(i).map(|item| item.span),
        _ => Some(child.span),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        base::digest::Digest,
        config::{ActionSpec, Key, Pipeline, StageSpec, Value},
        engine::{Job, Unwatched},
    };

    fn span(start: u32) -> Span {
        Span { file: 0, start, end: start + 1 }
    }

    /// TOML without places, except that every table key gets a number of its own.
    fn node(text: &str) -> Node {
        fn convert(value: toml::Value, next: &mut u32) -> Node {
            *next += 1;
            let at = span(*next);
            let value = match value {
                toml::Value::String(s) => Value::Str(s),
                toml::Value::Integer(i) => Value::Int(i),
                toml::Value::Array(items) => Value::Array(items.into_iter().map(|v| convert(v, next)).collect()),
                toml::Value::Table(table) => Value::Table(
                    table
                        .into_iter()
                        .map(|(k, v)| {
                            *next += 1;
                            (k, (Key { span: span(*next) }, convert(v, next)))
                        })
                        .collect(),
                ),
                other => panic!("{other}"),
            };
            Node { span: at, value }
        }
        convert(toml::from_str(text).unwrap(), &mut 0)
    }

    fn spec(definition: &str) -> Spec {
        let pipeline =
            Pipeline { name: "p".into(), description: None, root: "/root".into(), seeds: vec![0], goals: vec![] };
        let datasets = [("d".to_owned(), node(definition))].into_iter().collect();
        let definitions = [("dataset".to_owned(), datasets)].into_iter().collect();
        Spec { pipeline, profile: None, definitions, stages: vec![], tracked_fs: Default::default() }
    }

    fn resolve(definition: &str, params: &str) -> Result<Resolved, Vec<Diagnostic>> {
        let spec = spec(definition);
        let action = ActionSpec { axes: vec![], params: node(params), inputs: vec![], resources: None, export: None };
        Download.resolve(&ResolveContext { spec: &spec, action: &action })
    }

    fn definition(url: &str) -> String {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        format!(
            "[source.\"a.txt\"]\nurl = \"{url}\"\nblake3 = \"{a}\"\n[source.\"b.txt\"]\nurl = \"file:b.txt\"\nblake3 = \"{b}\""
        )
    }

    #[test]
    fn the_key_knows_names_and_contents_but_not_places() {
        let one = resolve(&definition("https://example.org/a"), "from = \"dataset.d\"").unwrap();
        let other = resolve(&definition("https://elsewhere.org/a"), "from = \"dataset.d\"").unwrap();
        assert_eq!(one.params, other.params);
        assert_ne!(one.unkeyed, other.unkeyed);
        assert_eq!(one.params["files"]["a.txt"], json!(Digest::of(b"a")));
        assert_eq!(one.unkeyed["b.txt"]["url"], "file:/root/b.txt");
        assert_eq!(one.retries, 3);
        let secret = resolve(&definition("https://u:pa55@example.org/a?sig=t0ken"), "from = \"dataset.d\"").unwrap();
        assert_eq!(secret.unkeyed["a.txt"]["url"], "https://example.org/a?sig=...");
        assert_eq!(secret.private["a.txt"]["url"], "https://u:pa55@example.org/a?sig=t0ken");
        let part = resolve(&definition("https://example.org/a"), "from = \"dataset.d\"\nonly = [\"b.txt\"]").unwrap();
        assert_eq!(part.params["files"].as_object().map(|files| files.len()), Some(1));
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is_written() {
        let good = definition("https://example.org/a");
        let first = |definition: &str, params: &str| {
            let found = resolve(definition, params).unwrap_err().remove(0);
            assert!(found.span.is_some() && found.help.is_some(), "{found:?}");
            format!("{} | {}", found.message, found.help.unwrap())
        };
        assert!(first(&good, "from = \"dataset.x\"").contains("dataset.d"));
        assert!(first("labels = [\"a\"]", "from = \"dataset.d\"").contains("no `source` table"));
        assert!(first(&good, "from = \"dataset.d\"\nonly = [\"c.txt\"]").contains("a.txt, b.txt"));
        assert!(first(&good, "from = \"dataset.d\"\nonly = []").contains("nothing"));
        assert!(first(&definition("gopher://x"), "from = \"dataset.d\"").contains("gopher"));
        assert!(first("[source.\"a.txt\"]\nsize = 1", "from = \"dataset.d\"").starts_with("the source has no `url`"));
        assert!(!Download.check(&node("from = \"dataset.d\"\nonyl = [\"a\"]")).is_empty());
    }

    #[test]
    fn missing_pins_are_found_for_pin_and_refused_for_run() {
        let text = "[source.\"a.b\"]\nurl = \"https://example.org/a\"";
        let found = resolve(text, "from = \"dataset.d\"").unwrap_err().remove(0);
        assert!(found.help.as_ref().unwrap().contains("emopipe pin"));
        let reads = |from: &str, text: &str| {
            let params = node(&format!("from = \"{from}\""));
            let action = ActionSpec { axes: vec![], params, inputs: vec![], resources: None, export: None };
            let (name, kind) = ("raw".to_owned(), "download".to_owned());
            let span = found.span.unwrap();
            let stages = vec![StageSpec { name, kind, span, export_span: None, actions: vec![action] }];
            used_sources(&Spec { stages, ..spec(text) }).unwrap()
        };
        let entries = reads("dataset.d", text);
        assert_eq!(entries[0].key, ["dataset", "d", "source", "a.b"]);
        assert_eq!((found.span, entries[0].source.pin()), (Some(entries[0].span), None));
        let pinned = reads("dataset.d", &definition("https://example.org/a"));
        assert!(pinned.iter().all(|entry| entry.source.pin().is_some()));
        assert!(reads("dataset.other", text).is_empty(), "nothing is asked of what no stage reads");
    }

    #[test]
    fn a_file_to_be_fetched_by_hand_is_missing_with_or_without_a_pin() {
        let by_hand =
            |rest: &str| resolve(&format!("[source.\"a.b\"]\nmanual = \"ask Ann\"\n{rest}"), "from = \"dataset.d\"");
        let found = by_hand("").unwrap();
        assert!(found.keyless && found.missing[0].help.as_ref().unwrap().starts_with("ask Ann\nput it at d/a.b"));
        let pin = Digest::of(b"a");
        let pinned = by_hand(&format!("url = \"file:/nowhere/a.b\"\nblake3 = \"{pin}\"")).unwrap();
        assert!(!pinned.keyless && pinned.missing[0].help.as_ref().unwrap().contains("put it at /nowhere/a.b"));
        assert_eq!(pinned.params["files"]["a.b"], json!(pin));
        let web = by_hand(&format!("url = \"https://example.org/a\"\nblake3 = \"{pin}\"")).unwrap();
        assert!(web.missing.is_empty(), "it may be had from there");
    }

    fn run(dir: &Path, offline: bool) -> Result<()> {
        let resolved = {
            let spec =
                Spec { pipeline: Pipeline { root: dir.into(), ..spec("").pipeline }, ..spec(&definition("file:a")) };
            let action = ActionSpec {
                axes: vec![],
                params: node("from = \"dataset.d\""),
                inputs: vec![],
                resources: None,
                export: None,
            };
            Download.resolve(&ResolveContext { spec: &spec, action: &action }).unwrap()
        };
        let job = Job {
            kind: "download".into(),
            action: "download".into(),
            params: resolved.params,
            unkeyed: resolved.unkeyed,
            private: resolved.private,
            inputs: BTreeMap::new(),
            threads: 1,
            memory: 0,
            notes: Vec::new(),
        };
        let (out, work) = (dir.join("out"), dir.join("work"));
        let cx = Context { job: &job, out: &out, work: &work, progress: &Unwatched };
        download(&cx, &Fetcher::new(Settings { offline, ..Settings::default() }))
    }

    #[test]
    fn files_arrive_in_the_artifact_or_nothing_begins() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "a").unwrap();
        let e = run(dir.path(), true).unwrap_err();
        assert!(e.message.contains("b.txt"), "{e}");
        assert!(!dir.path().join("out/a.txt").exists(), "the missing neighbour is noticed first");
        fs::write(dir.path().join("b.txt"), "b").unwrap();
        run(dir.path(), true).unwrap();
        assert_eq!(fs::read(dir.path().join("out/a.txt")).unwrap(), b"a");
        assert_eq!(fs::read(dir.path().join("out/b.txt")).unwrap(), b"b");
    }
}
