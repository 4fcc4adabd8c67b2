//! Keys, refusals and bytes of preparations.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Prepare, prepare_run::RAW};
use crate::{
    base::{digest::Digest, error::Result},
    config::{Diagnostic, LoadOptions, Vocabulary, load},
    data::{EXAMPLES_FILE, Summary, read_examples},
    engine::{Artifact, Context, Job, ResolveContext, Resolved, StageKind, Unwatched},
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets")
}

/// What a pipeline file with these tasks resolves to, for each action of its `prepare` stage, or all complaints.
fn resolve(tasks: &str, change: impl Fn(String) -> String) -> Result<Vec<Resolved>, String> {
    let folder = tempfile::tempdir().unwrap();
    let cards = std::fs::read_to_string(fixtures().join("datasets.toml")).unwrap();
    let names: Vec<_> =
        tasks.lines().filter_map(|l| l.strip_prefix("[task.")).map(|l| l.trim_end_matches(']')).collect();
    let text = format!(
        "[pipeline]\nname = 'p'\n{}\n{tasks}\n[stages.prepare]\nkind = 'prepare'\nmatrix = {{ task = {names:?} }}\ntask = '${{task}}'\n",
        change(cards)
    );
    let path = folder.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    let kind = crate::engine::vocabulary_entry(&Prepare);
    let vocabulary =
        Vocabulary { definitions: crate::data::definitions().into_iter().collect(), stage_kinds: vec![kind] };
    let loaded = load(&path, &LoadOptions::default(), &vocabulary);
    let shown = |found: &[Diagnostic]| {
        found
            .iter()
            .map(|d| format!("{} ({})", d.message, d.help.as_deref().unwrap_or("no help")))
            .collect::<Vec<_>>()
            .join("\n")
    };
    if !loaded.diagnostics.is_empty() {
        return Err(shown(&loaded.diagnostics));
    }
    let spec = loaded.spec.unwrap();
    spec.stages[0]
        .actions
        .iter()
        .map(|action| Prepare.resolve(&ResolveContext { spec: &spec, action }).map_err(|found| shown(&found)))
        .collect()
}

const TWO: &str = "[task.two]\ntitle = 'Two'\ndataset = 'ratings'\nscheme = '2'\nlimit = { train = 8 }\n";

fn params(tasks: &str, change: impl Fn(String) -> String) -> serde_json::Value {
    resolve(tasks, change).unwrap().remove(0).params
}

#[test]
fn what_changes_the_bytes_changes_the_parameters_and_prose_does_not() {
    let base = params(TWO, |t| t);
    let same = |from: &'static str, to: &'static str| {
        params(TWO, |t| {
            assert!(t.contains(from), "{from}");
            t.replacen(from, to, 1)
        }) == base
    };
    assert!(same("title = \"Ratings\"", "title = \"Other\"\nhomepage = \"https://example.org\""));
    assert!(same("url = \"file:ratings.txt\"", "url = \"https://example.org/ratings.txt\""));
    assert!(same(
        "read = { format = \"delimited\", delimiter = \"\\t\", quoted = false,",
        "read = { delimiter = \"\\t\", quoted = false, format = \"delimited\","
    ));
    assert!(same("neutral = \"[-0.5, 0.5]\"", "neutral = \"[-0.4, 0.5]\""), "another scheme");
    for (from, to) in [
        ("construct = \"sentiment intensity\"", "construct = \"emotion\""),
        ("license = \"as this project\"", "license = \"MIT\""),
        ("quoted = false", "quoted = true"),
        ("\"nfc\", ", ""),
        ("salt = \"ratings-0\"", "salt = \"other\""),
        ("rows = 30", "rows = 31"),
        ("negative = \"[-4, -0.5)\"", "negative = \"[-5, -0.5)\""),
        ("positive = 13", "positive = 12"),
        ("are left out.", "are dropped."),
        ("url = \"file:ratings.txt\"", "url = \"file:ratings.txt\"\nlocal = true"),
    ] {
        assert!(!same(from, to), "{from}");
    }
    assert_ne!(params(&TWO.replace("train = 8", "train = 9"), |t| t), base);
    assert_ne!(params(&TWO.replace("'2'", "'3'"), |t| t), base);
    assert_eq!(params(&TWO.replace("'Two'", "'2'\nwords = { negative = 'bad' }\ninstruction = 'Say'"), |t| t), base);
}

#[test]
fn unknown_names_are_reported_with_the_nearest() {
    let complaint = |from: &str, to: &str| resolve(&TWO.replace(from, to), |t| t).unwrap_err();
    assert_eq!(complaint("'ratings'", "'rating'"), "there is no dataset `rating` (did you mean `ratings`?)");
    assert_eq!(
        complaint("'2'", "'twoo'"),
        "dataset `ratings` has no label scheme `twoo` (schemes of the card: `2`, `3`, `5`)"
    );
    assert_eq!(
        complaint("limit", "words = { postive = 'good' }\nlimit"),
        "`postive` is no class of scheme `2` (classes: negative, positive)"
    );
    assert_eq!(complaint("limit", "limits"), "unknown key `limits` (did you mean `limit`?)");
    let bad = |from: &'static str, to: &'static str| resolve(TWO, |t| t.replacen(from, to, 1)).unwrap_err();
    assert_eq!(
        bad("\"delimited\", delimiter", "\"delimitd\", delimiter"),
        "`delimitd` is no value of `format` (did you mean `delimited`?)"
    );
    assert!(bad("\"[-0.5, 0.5]\"", "\"[-0.5; 0.5]\"").contains("`[-0.5; 0.5]` is no interval such as"));
    assert_eq!(bad("\"nfc\"", "\"nfcc\""), "`nfcc` is no value of item 3 of `normalize` (did you mean `nfc`?)");
    assert_eq!(bad("test = 0.4", "test = 0.5"), "the shares of train, dev and test sum to 1.1, not to 1 (no help)");
}

fn run(params: serde_json::Value, raw: BTreeMap<String, PathBuf>, out: &Path) -> Result<()> {
    let raw = Artifact { digest: Digest::of(b"raw"), files: raw };
    let job = Job {
        kind: "prepare".into(),
        action: "prepare[task=two]".into(),
        params,
        unkeyed: serde_json::Value::Null,
        private: serde_json::Value::Null,
        inputs: [(RAW.to_owned(), vec![raw])].into(),
        threads: 1,
        memory: 0,
        notes: Vec::new(),
    };
    Prepare.run(&Context { job: &job, out, work: out, progress: &Unwatched })
}

#[test]
fn a_run_leaves_table_and_summary_with_the_same_bytes_every_time() {
    let raw = BTreeMap::from([("ratings.txt".to_owned(), fixtures().join("ratings.txt"))]);
    let files = [Summary::FILE, EXAMPLES_FILE];
    let bytes: Vec<_> = (0..2)
        .map(|_| {
            let out = tempfile::tempdir().unwrap();
            run(params(TWO, |t| t), raw.clone(), out.path()).unwrap();
            let summary = Summary::read_from(&out.path().join(Summary::FILE)).unwrap();
            let examples = read_examples(&out.path().join(EXAMPLES_FILE)).unwrap();
            assert_eq!(summary.kept[0].examples, 8);
            assert_eq!(summary.kept.iter().map(|s| s.examples).sum::<u64>(), examples.len() as u64);
            assert!(examples.iter().all(|e| summary.labels[e.label_id as usize] == e.label && e.value.is_some()));
            assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), files.len());
            files.map(|f| std::fs::read(out.path().join(f)).unwrap())
        })
        .collect();
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_missing_file_is_named() {
    let out = tempfile::tempdir().unwrap();
    let found = run(params(TWO, |t| t), BTreeMap::from([("other.txt".to_owned(), "/x".into())]), out.path());
    assert!(found.unwrap_err().message.contains("has no file `ratings.txt`; it has: other.txt"));
}
