//! What holds for every input, however it was damaged or made up. A broken property panics.

use std::{fs, path::Path};

use emopipe::{
    config::{self, LoadOptions},
    data::readers::{Encoding, Format},
    engine::plan::Plan,
    fetch::{self, Fetcher, Settings, Source},
    stages,
    store::{Digest, Store},
};

/// Any bytes are a pipeline file or are explained; a plan of the same bytes is the same plan. Returns its actions.
pub fn pipeline(bytes: &[u8]) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("pipeline.toml");
    fs::write(&path, bytes).expect("a file");
    let plan = || {
        let loaded = config::load(&path, &LoadOptions::default(), &stages::vocabulary());
        let mut problems = loaded.diagnostics;
        let names = match loaded.spec.map(|spec| Plan::new(spec, stages::REGISTRY)) {
            Some(Ok(plan)) => plan.actions.into_iter().map(|a| a.name).collect(),
            Some(Err(more)) => {
                problems.extend(more);
                Vec::new()
            }
            None => Vec::new(),
        };
        let text = config::render(&problems, &loaded.sources);
        assert_eq!(text.is_empty(), problems.is_empty());
        (names, text)
    };
    let (names, text) = plan();
    assert!(!names.is_empty() || !text.is_empty(), "neither a plan nor a word why not");
    let count = if text.is_empty() { names.len() } else { 0 };
    assert_eq!(plan(), (names, text));
    count
}

/// Whatever an index holds, the store opens, and what is published after it is found again. Returns the results in it.
pub fn index(bytes: &[u8]) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("index.jsonl"), bytes).expect("a file");
    let key = Digest::of(b"published after the damage");
    let outcome = {
        let store = Store::open(dir.path()).expect("the store opens");
        let folder = store.staging().expect("a folder");
        fs::write(folder.path().join("x"), "content").expect("a file");
        store.publish(key, "stage", folder.path(), &serde_json::json!({})).expect("a result")
    };
    let store = Store::open(dir.path()).expect("the store opens again");
    assert_eq!(store.lookup(&key), Some(outcome));
    assert_eq!(store.latest_key("stage"), Some(key));
    store.len()
}

/// Whatever an archive holds, only the file that was asked for is written, and only where it was asked for.
/// The first byte chooses the kind of archive. Returns how many files were found in it.
pub fn archive(bytes: &[u8]) -> usize {
    let Some((kind, bytes)) = bytes.split_first() else { return 0 };
    let mut found = 0;
    let ending = ["-py3-none-any.whl", ".tar.gz", ".zip"][usize::from(*kind) % 3];
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().join("mirror/pypi/pkg/1.0");
    let (into, work) = (dir.path().join("into"), dir.path().join("work"));
    for folder in [&folder, &into, &work] {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::write(folder.join(format!("pkg-1.0{ending}")), bytes).expect("a file");
    let fetcher =
        Fetcher::new(Settings { mirror: Some(dir.path().join("mirror")), offline: true, ..Settings::default() });
    for member in ["m.txt", "pkg/inner.tar.gz/m.txt", "inner.zip/m.txt"] {
        let source = serde_json::json!({ "url": format!("pypi:pkg==1.0#{member}") });
        let source: Source = serde_json::from_value(source).expect("a source");
        let fetched = fetcher.fetch(&source, "got", &into, &work, &());
        let got = fs::read(into.join("got")).ok();
        if let Ok(fetched) = &fetched {
            found += 1;
            assert_eq!(got.as_deref().map(Digest::of), Some(fetched.digest));
        }
        assert_eq!(names(dir.path()), ["into", "mirror", "work"]);
        let placed: &[&str] = if got.is_some() { &["got"] } else { &[] };
        assert_eq!(names(&into), placed);
    }
    found
}

/// Any bytes are a data file or are explained under the file's name. Rows are the
/// same each time, and the same again when they are written as CSV in which every field is quoted. The first byte chooses
/// format and encoding. Returns the rows.
pub fn data(bytes: &[u8]) -> usize {
    let Some((kind, bytes)) = bytes.split_first() else { return 0 };
    let formats = [
        r#"{"format": "delimited"}"#,
        r#"{"format": "json", "rows": "{row}"}"#,
        r#"{"format": "json", "rows": "{a}.{b}", "columns": {"c": "{a}.{b}.text"}}"#,
        r#"{"format": "delimited", "delimiter": "\t", "quoted": false}"#,
        r#"{"format": "lines"}"#,
    ];
    let encodings = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf16Be, Encoding::Windows1252, Encoding::Latin1];
    let format: Format = serde_json::from_str(formats[usize::from(*kind) % 5]).expect("a format");
    let encoding = encodings[usize::from(*kind) / 5 % 5];
    let records = match format.read("d.csv", bytes, encoding) {
        Ok(records) => records,
        Err(e) => {
            assert!(e.message.starts_with("d.csv: "), "{e}");
            return 0;
        }
    };
    assert_eq!(format.read("d.csv", bytes, encoding).ok().as_ref(), Some(&records));
    let columns = records.columns.len();
    let mut text = line((0..columns).map(|i| format!("c{i}")));
    for row in &records.rows {
        text.push_str(&line((0..columns).map(|i| row.get(i).unwrap_or_default().to_owned())));
    }
    if text.contains('\0') {
        return records.rows.len();
    }
    let quoted: Format = serde_json::from_str(formats[0]).expect("a format");
    let again = quoted.read("d.csv", text.as_bytes(), Encoding::Utf8).expect("what is quoted can be read");
    assert_eq!(again.rows.len(), records.rows.len());
    for (a, b) in again.rows.iter().zip(&records.rows) {
        assert!((0..columns).all(|i| a.get(i).unwrap_or_default() == b.get(i).unwrap_or_default()));
    }
    records.rows.len()
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let fields: Vec<_> = fields.map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
    fields.join(",") + "\n"
}

/// Any page of a package index lists archives or is explained. The first byte chooses JSON or HTML. Returns those that may
/// hold a file.
pub fn listing(bytes: &[u8]) -> usize {
    let Some((kind, bytes)) = bytes.split_first() else { return 0 };
    fetch::listed(&String::from_utf8_lossy(bytes), kind % 2 == 0).unwrap_or(0)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
