//! What holds for every input, however it was damaged or made up. A broken property panics.

use std::{fs, path::Path, sync::OnceLock};

use emopipe::{
    config::{self, LoadOptions},
    engine::plan::Plan,
    fetch::{Fetcher, Settings, Source},
    models::{
        self, Adapter, Backbone,
        adapters::{CONFIG_FILE, WEIGHTS_FILE, load},
    },
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

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// Whatever an adapter's configuration holds, the adapter is refused, or it is read and means the same when it is written
/// and read again. Returns how many layers it changes.
pub fn adapter_config(bytes: &[u8]) -> usize {
    let Adapters { model, weights, .. } = adapters();
    adapter(bytes, weights, model.as_ref())
}

/// As [`adapter_config`], of the tensors.
pub fn adapter_weights(bytes: &[u8]) -> usize {
    let Adapters { model, config, .. } = adapters();
    adapter(config, bytes, model.as_ref())
}

/// A tiny model and PEFT's adapter for it.
struct Adapters {
    model: Box<dyn Backbone>,
    config: Vec<u8>,
    weights: Vec<u8>,
}

fn adapters() -> &'static Adapters {
    static ADAPTERS: OnceLock<Adapters> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|a| a.join("tests/fixtures/llama-tiny"));
        let folder = folder.into_iter().find(|f| f.is_dir()).expect("the fixtures");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let spec = serde_json::from_value(serde_json::json!({ "family": "llama", "dtype": "f32" })).expect("a model");
        let read = |name: &str| fs::read(folder.join("peft-lora").join(name)).expect("a file");
        Adapters {
            model: models::load(&spec, &files.into(), &models::device::open(Default::default()).expect("a CPU"))
                .expect("a model"),
            config: read(CONFIG_FILE),
            weights: read(WEIGHTS_FILE),
        }
    })
}

fn adapter(config: &[u8], weights: &[u8], model: &dyn Backbone) -> usize {
    let Ok(adapter) = load(config, weights, model) else { return 0 };
    let saved = adapter.save("tiny").expect("what is read can be written");
    let again = load(&saved.config, &saved.weights, model).expect("what is written can be read");
    let changes = |adapter: &dyn Adapter| -> Vec<(String, f64)> {
        let of = |path: String| adapter.low_rank(&path).map(|low| (path, low.scale));
        model.modules().into_iter().filter_map(|m| of(m.path)).collect()
    };
    let (one, other) = (changes(adapter.as_ref()), changes(again.as_ref()));
    assert_eq!(one.len(), other.len());
    for ((path, scale), (same, close)) in one.iter().zip(&other) {
        assert_eq!(path, same);
        assert!((scale - close).abs() <= 1e-9 * scale.abs(), "{path}: {scale}, then {close}");
    }
    one.len()
}
