//! Pins, places and diagnostics of downloads.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

use super::{Download, download_run, used_sources};
use crate::{
    base::{digest::Digest, error::Result},
    config::{ActionSpec, Diagnostic, Key, Node, Pipeline, Span, Spec, StageSpec, Value},
    engine::{Context, Job, ResolveContext, Resolved, StageKind, Unwatched},
    fetch::{Fetcher, Settings},
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
        let spec = Spec { pipeline: Pipeline { root: dir.into(), ..spec("").pipeline }, ..spec(&definition("file:a")) };
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
    download_run::run(&cx, &Fetcher::new(Settings { offline, ..Settings::default() }))
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
