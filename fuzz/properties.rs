//! What holds for every input, however it was damaged or made up. A broken property panics.

use std::{fs, path::Path};

use emopipe::{
    config::{self, LoadOptions},
    engine::lockfile::LockFile,
    engine::plan::Plan,
    fetch::{Fetcher, Settings, Source},
    remote, stages,
    store::{
        Digest, Exports, Outcome, Store,
        manifest::{self, Manifest},
        names,
    },
    surroundings::Surroundings,
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
    drop(Store::open(dir.path()).expect("a store"));
    fs::write(dir.path().join("index.jsonl"), bytes).expect("a file");
    let key = Digest::of(b"published after the damage");
    let outcome = {
        let store = Store::open(dir.path()).expect("the store opens");
        let folder = store.staging().expect("a folder");
        fs::write(folder.path().join("x"), "content").expect("a file");
        store.publish(key, "stage", folder.path(), &serde_json::json!({})).expect("a result")
    };
    let store = Store::open(dir.path()).expect("the store opens again");
    for (_, known) in store.results() {
        for file in known.outcomes.iter().flat_map(|outcome| &outcome.files) {
            assert_eq!(names::problem(&file.name), None);
        }
    }
    assert_eq!(store.lookup(&key), Some(outcome));
    assert_eq!(store.latest_key("stage"), Some(key));
    store.len()
}

/// Whatever a record of a remote store says, it is refused or names possible files. Returns how many.
pub fn record(bytes: &[u8]) -> usize {
    let Some((key, bytes)) = bytes.split_first_chunk::<32>() else { return 0 };
    let Some(files) = remote::listing(bytes, &Digest::from_bytes(*key)) else { return 0 };
    for file in &files {
        assert_eq!(names::problem(&file.name), None);
    }
    files.len()
}

/// Whatever a manifest says: it is refused or means what it is written as; and by none of it does anything outside of the
/// export's folder, or anything that was edited, go away. Returns the files that it names.
pub fn manifest(bytes: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("out");
    for file in ["a", "out/edited"] {
        fs::create_dir_all(dir.path().join(file).parent().expect("a folder")).expect("a folder");
        fs::write(dir.path().join(file), file).expect("a file");
    }
    fs::write(out.join(manifest::FILE), text).expect("a file");
    let store = Store::open(&dir.path().join("cache")).expect("a store");
    let mut exports = Exports::new(&store, dir.path(), [], false).expect("a project");
    // The pipeline `p` makes nothing here any more.
    let placed = exports.place("p::a", "out", &Outcome::new(Vec::new()));
    let done = placed.and_then(|_| exports.finish("p::", Some(&Default::default())));
    assert_eq!(fs::read(dir.path().join("a")).ok().as_deref(), Some(&b"a"[..]));
    assert_eq!(fs::read(out.join("edited")).ok().as_deref(), Some(&b"out/edited"[..]));
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(done.is_ok());
            assert_eq!(Manifest::parse(&manifest.text()).as_ref(), Ok(&manifest));
            manifest.files.len()
        }
        Err(problem) => {
            assert!(done.is_err() && !problem.is_empty());
            0
        }
    }
}

/// Whatever a lock file says, it is refused or means what it is written as. Returns the profiles in it.
pub fn lock(bytes: &[u8]) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("p.lock");
    fs::write(&path, bytes).expect("a file");
    let Ok(lock) = LockFile::read(&path, &Surroundings::default()) else { return 0 };
    lock.write(&path).expect("it is written");
    assert_eq!(LockFile::read(&path, &Surroundings::default()).ok().as_ref(), Some(&lock));
    for locked in lock.profile.values() {
        locked.expected();
    }
    lock.profile.len()
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

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
