//! What holds for every input, however it was damaged or made up. A broken property panics.

use std::{fs, io::Write, path::Path, sync::OnceLock};

use emopipe::{
    base::{digest::Digest, tracked_fs::TrackedFs},
    config::{self, LoadOptions},
    data::{
        chat::Chat,
        readers::{Encoding, FileFormat},
        tokenizer::{Files, PretrainedTokenizer},
    },
    engine::{lockfile::LockFile, plan::Plan},
    fetch::{self, Fetcher, Settings, Source},
    models::{
        self, Adapter, Backbone, Mode, TokenTree,
        adapters::{CONFIG_FILE, Untrained, WEIGHTS_FILE, load},
        dims, load_decoder,
        weights::model_config::Config,
    },
    remote, stages,
    store::{
        ActionResult, Exports, Store,
        manifest::{self, Manifest},
        names,
    },
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
        let obeyed = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(obeyed, None, "a terminal would do what the file says");
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
        for file in known.results.iter().flat_map(|outcome| &outcome.files) {
            assert_eq!(names::why_impossible(&file.name), None);
        }
    }
    assert_eq!(store.lookup(&key), Some(outcome));
    assert_eq!(store.latest_key("stage"), Some(key));
    store.len()
}

/// The smallest llama.
pub const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8, "tie_word_embeddings": true, "rope_parameters": {"rope_theta": 1e4}}"#;

/// Whatever a configuration says, every family reads it to the end, refuses it, and never stumbles over what it accepted.
/// Returns how many families accept it.
pub fn model_config(bytes: &[u8]) -> usize {
    let Ok(serde_json::Value::Object(keys)) = serde_json::from_slice(bytes) else { return 0 };
    let config = Config::new("config.json", keys);
    let accepted = ["llama", "chatglm", "bert"].iter().filter(|family| match dims(family, &config) {
        Ok(dims) => {
            assert!(dims.heads % dims.kv_heads == 0 && dims.layers > 0 && dims.vocab > 0);
            true
        }
        Err(e) => {
            assert!(e.help.is_some(), "no advice: {e}");
            false
        }
    });
    accepted.count()
}

/// Any bytes are a GGUF file of a model that computes, or are refused. Returns 1 if they are one.
pub fn gguf(bytes: &[u8]) -> usize {
    model(&[("m.gguf", bytes)])
}

/// As [`gguf`], of a safetensors file.
pub fn safetensors(bytes: &[u8]) -> usize {
    model(&[("config.json", LLAMA.as_bytes()), ("model.safetensors", bytes)])
}

/// As [`gguf`], of the pickle in a PyTorch file, whose storages are numbered and large enough for any of [`LLAMA`]'s tensors.
pub fn pickle(bytes: &[u8]) -> usize {
    let plain = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut entry = |name: &str, bytes: &[u8]| {
        archive.start_file(format!("archive/{name}"), plain).expect("an entry");
        archive.write_all(bytes).expect("its bytes");
    };
    entry("data.pkl", bytes);
    (0..12).for_each(|i| entry(&format!("data/{i}"), &[0x3c; 64]));
    let archive = archive.finish().expect("an archive").into_inner();
    model(&[("config.json", LLAMA.as_bytes()), ("pytorch_model.bin", &archive)])
}

fn model(files: &[(&str, &[u8])]) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let place = |(name, bytes): &(&str, &[u8])| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        ((*name).to_owned(), path)
    };
    let files = files.iter().map(place).collect();
    match load_decoder("llama", &files, &candle_core::Device::Cpu) {
        Ok(model) => {
            let mut tree = TokenTree::new();
            tree.push(None, &[0]);
            model.forward(&tree, &Untrained, Mode::Eval).expect("a model that was loaded computes");
            1
        }
        Err(e) => {
            assert!(e.help.is_some(), "no advice: {e}");
            0
        }
    }
}

/// Whatever a record of a remote store says, it is refused or names possible files. Returns how many.
pub fn record(bytes: &[u8]) -> usize {
    let Some((key, bytes)) = bytes.split_first_chunk::<32>() else { return 0 };
    let Some(files) = remote::listing(bytes, &Digest::from_bytes(*key)) else { return 0 };
    for file in &files {
        assert_eq!(names::why_impossible(&file.name), None);
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
    let placed = exports.place("p::a", "out", &ActionResult::new(Vec::new()));
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
    let Ok(lock) = LockFile::read(&path, &TrackedFs::default()) else { return 0 };
    lock.write(&path).expect("it is written");
    assert_eq!(LockFile::read(&path, &TrackedFs::default()).ok().as_ref(), Some(&lock));
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
    let format: FileFormat = serde_json::from_str(formats[usize::from(*kind) % 5]).expect("a format");
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
    let quoted: FileFormat = serde_json::from_str(formats[0]).expect("a format");
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

/// A tokenizer with a chat template: small, and with every step that a text goes through.
pub const TOKENIZER: &str = include_str!("seeds/tokenizer.json");

/// What a damaged tokenizer file belongs to: its name, and whether it comes beside a whole `tokenizer.json`.
pub const TOKENIZER_FILES: [(&str, bool); 8] = [
    ("tokenizer.json", false),
    ("tokenizer.model", false),
    ("vocab.txt", false),
    ("model.gguf", false),
    ("tokenizer_config.json", true),
    ("special_tokens_map.json", true),
    ("added_tokens.json", true),
    ("chat_template.jinja", true),
];

/// Any bytes are a file of a tokenizer or are explained; what they are read as gives the same ids twice, and a message's
/// words give no control token. The first byte chooses the file. Returns the texts that were encoded.
pub fn tokenizer(bytes: &[u8]) -> usize {
    let Some((kind, bytes)) = bytes.split_first() else { return 0 };
    let (name, beside) = TOKENIZER_FILES[usize::from(*kind) % TOKENIZER_FILES.len()];
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files = Files::new();
    let mut add = |name: &str, content: &[u8]| {
        fs::write(dir.path().join(name), content).expect("a file");
        files.insert(name.to_owned(), dir.path().join(name));
    };
    add(name, bytes);
    if beside {
        add("tokenizer.json", TOKENIZER.as_bytes());
    }
    let Ok(model) = PretrainedTokenizer::load(&files, None) else { return 0 };
    let end = if name == "vocab.txt" { "[SEP]" } else { "</s>" };
    let usual = format!(
        "{{{{ messages[0].content }}}}{end}{{% if messages|length > 1 %}}{{{{ messages[1].content }}}}{end}{{% endif %}}"
    );
    let template = if model.chat_template.is_some() { None } else { Some(usual.as_str()) };
    let Ok(chat) = Chat::new(&model, template, Some("2024-07-26")) else { return 0 };
    let markers: Vec<&str> = model.tokenizer.added().iter().map(|(_, token)| token.content.as_str()).collect();
    let mut texts = ["", " ", "Don't ", "  the\n\n\tfilm\u{0} ", "\u{200d}e\u{301}你好😀👍🏽 ½ ﬁ", "مرحبا ▁ ##ly"]
        .map(str::to_owned)
        .to_vec();
    texts.extend([markers.concat(), "a".repeat(300)]);
    let mut encoded = 0;
    for text in &texts {
        let Ok(ids) = chat.prompt(text) else { continue };
        encoded += 1;
        assert_eq!(chat.prompt(text).ok().as_ref(), Some(&ids));
        model.tokenizer.decode(&ids).expect("ids are shown");
        if let Ok(words) = model.tokenizer.encode_words(text) {
            // What a model doesn't know may become its unknown token.
            let unknown = ["<unk>", "[UNK]"].map(|name| model.tokenizer.added().id(name));
            let control = |id: &&u32| model.tokenizer.added().control().contains(id) && !unknown.contains(&Some(**id));
            if name != "tokenizer.json" {
                assert_eq!(words.iter().find(control), None, "{text:?}");
            }
        }
    }
    encoded
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
