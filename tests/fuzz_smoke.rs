//! The properties of `fuzz/` on seeded mutations of well-formed inputs: a short run that needs no fuzzer.

#[path = "../fuzz/properties.rs"]
mod properties;

mod common;

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
};

use candle_core::{Device, Tensor, quantized::gguf_file::Value};
use flate2::{Compression, write::GzEncoder};

/// A stream of random numbers that is the same in every run.
struct Random(blake3::OutputReader);

impl Random {
    fn new(seed: &str) -> Self {
        Self(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof())
    }

    fn below(&mut self, n: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % n.max(1) as u64) as usize
    }
}

/// One to four changes: bits, bytes, cuts, repetitions, and pieces of other seeds.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let (at, len) = (random.below(bytes.len() + 1), random.below(40));
        let end = (at + len).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.splice(at..end, other[from..(from + len).min(other.len())].iter().copied());
            }
        }
    }
    bytes
}

/// `understood` is what the property finds in the first seed: mutations of what isn't understood would show little.
fn run(name: &str, seeds: &[Vec<u8>], count: usize, property: fn(&[u8]) -> usize, understood: usize) {
    let mut random = Random::new(name);
    assert_eq!(property(&seeds[0]), understood);
    for seed in &seeds[1..] {
        property(seed);
    }
    for _ in 0..count {
        let input = mutate(seeds, &mut random);
        let outcome = std::panic::catch_unwind(|| property(&input));
        assert!(outcome.is_ok(), "{name} fails on {:?}", String::from_utf8_lossy(&input));
    }
    println!("{name}: {} seeds, {count} mutations", seeds.len());
}

const PIPELINE: &str = r#"
include = []
[pipeline]
name = "x"
seeds = [0, 1]
goals = ["sum"]
default_profile = "small"
[axes]
letter = ["a", "b"]
[params]
suffix = "!"
[remote]
url = "s3://bucket/prefix"
push = false
[stages.one]
kind = "exec"
matrix = { letter = "all", seed = "all" }
exclude = [{ letter = "a", seed = 1 }]
command = ["echo", "${letter} ${params.suffix} $${x}", "{out}"]
outputs = ["a.txt"]
resources = { cores = 1, memory = "1 GiB" }
[stages.sum]
kind = "exec"
inputs = { all = "one", first = "one[letter=b,seed=0]" }
command = ["cat", "{all}", "{first}"]
outputs = ["b.txt"]
export = "reports"
[profile.base]
axes.letter = ["b"]
[profile.small]
inherits = "base"
params.suffix = "?"
"#;

#[test]
fn pipelines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = vec![PIPELINE.into()];
    for folder in ["pipelines", "datasets"] {
        let mut paths: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        seeds.extend(paths.iter().filter(|p| p.extension().is_some_and(|e| e == "toml")).map(|p| fs::read(p).unwrap()));
    }
    run("pipeline", &seeds, 600, properties::pipeline, 3);
}

#[test]
fn indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = emopipe::store::Store::open(dir.path()).unwrap();
    for i in 0..4 {
        let folder = store.staging().unwrap();
        fs::write(folder.path().join("x"), [i]).unwrap();
        let key = emopipe::base::digest::Digest::of(&[i % 3]);
        store.publish(key, "stage", folder.path(), &serde_json::json!({})).unwrap();
        store.note_use(key, "other").unwrap();
    }
    store.forget(&emopipe::base::digest::Digest::of(&[1])).unwrap();
    let seeds = [fs::read(dir.path().join("index.jsonl")).unwrap(), b"\n\n\0 {}".to_vec()];
    run("index", &seeds, 150, properties::index, 3);
}

/// The tensors of [`properties::LLAMA`].
fn tensors() -> Vec<(String, Vec<usize>)> {
    let layer = [
        ("input_layernorm", vec![4]),
        ("self_attn.q_proj", vec![4, 4]),
        ("self_attn.k_proj", vec![2, 4]),
        ("self_attn.v_proj", vec![2, 4]),
        ("self_attn.o_proj", vec![4, 4]),
        ("post_attention_layernorm", vec![4]),
        ("mlp.gate_proj", vec![4, 4]),
        ("mlp.up_proj", vec![4, 4]),
        ("mlp.down_proj", vec![4, 4]),
    ];
    let layer = layer.map(|(name, shape)| (format!("model.layers.0.{name}.weight"), shape));
    let top = [("model.embed_tokens", vec![8, 4]), ("model.norm", vec![4])];
    top.map(|(name, shape)| (format!("{name}.weight"), shape)).into_iter().chain(layer).collect()
}

fn numbers() -> common::gguf::Tensors {
    let tensor = |shape: Vec<usize>| Tensor::full(0.25f32, shape, &Device::Cpu).unwrap();
    tensors().into_iter().map(|(name, shape)| (name, tensor(shape))).collect()
}

#[test]
fn configurations_of_models() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixtures = ["llama-tiny", "qwen2-tiny", "bert-tiny", "chatglm2-tiny"];
    let mut seeds = vec![properties::LLAMA.into()];
    seeds.extend(fixtures.map(|name| fs::read(root.join(name).join("config.json")).unwrap()));
    run("model_config", &seeds, 2000, properties::model_config, 1);
}

#[test]
fn gguf_files() {
    let config = serde_json::from_str(properties::LLAMA).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (metadata, tensors) = (common::gguf::metadata(&config), common::gguf::tensors(&config, &numbers()));
    let text = Value::Array(vec![Value::String("a".into()), Value::String("b".into())]);
    let more = [("general.alignment", Value::U32(64)), ("tokenizer.ggml.tokens", text)];
    let more = more.map(|(key, value)| (key.to_owned(), value));
    let seeds = [metadata.clone(), [&metadata[..], &more].concat()].map(|metadata| {
        common::gguf::write(&dir.path().join("m.gguf"), &metadata, &tensors);
        fs::read(dir.path().join("m.gguf")).unwrap()
    });
    run("gguf", &seeds, 1500, properties::gguf, 1);
}

#[test]
fn safetensors_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    candle_core::safetensors::save(&numbers(), &path).unwrap();
    let whole = fs::read(&path).unwrap();
    run("safetensors", std::slice::from_ref(&whole), 1500, properties::safetensors, 1);
    // Mutations of the header alone, with a length that fits it.
    let len = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = vec![whole[8..8 + len].to_vec()];
    let mut random = Random::new("header");
    for _ in 0..1500 {
        let header = mutate(&header, &mut random);
        properties::safetensors(&[&(header.len() as u64).to_le_bytes(), &header[..], &whole[8 + len..]].concat());
    }
}

#[test]
fn pickles() {
    // In half precision, each in a storage of 32 numbers.
    let shapes = tensors();
    let mut seed = common::chatglm::pickle(&shapes);
    for (i, (name, shape)) in shapes.iter().enumerate() {
        let len: usize = shape.iter().product();
        let from = [b"X\x03\0\0\0cpuJ".as_slice(), &(len as i32).to_le_bytes()].concat();
        let start = seed.windows(name.len()).position(|w| w == name.as_bytes()).unwrap();
        let at = start + seed[start..].windows(from.len()).position(|w| w == from).unwrap_or_else(|| panic!("{i}"));
        seed[at + 9..at + 13].copy_from_slice(&32i32.to_le_bytes());
    }
    run("pickle", &[seed], 1500, properties::pickle, 1);
}

#[test]
fn records() {
    let entry = |name: &str| serde_json::json!({ "name": name, "digest": emopipe::base::digest::Digest::of(name.as_bytes()), "size": name.len() });
    let key = emopipe::base::digest::Digest::of(b"key");
    let seed = |names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| entry(name)).collect();
        let json = serde_json::json!({ "key": key, "files": files, "preimage": entry("") }).to_string();
        let sum = emopipe::base::digest::Digest::of(json.as_bytes());
        [&key.as_bytes()[..], format!("{sum} {json}\n").as_bytes()].concat()
    };
    run("record", &[seed(&["a", "sub/b"]), seed(&["../a"]), seed(&[])], 600, properties::record, 2);
    // Mutations seldom get past the checksum, so the names are mutated before it is made.
    let names: Vec<Vec<u8>> = ["a/b", "../x", "/etc/x", "a\nb", "a//b"].map(|name| name.as_bytes().to_vec()).into();
    let mut random = Random::new("names");
    for _ in 0..600 {
        let name = mutate(&names, &mut random);
        properties::record(&seed(&[&String::from_utf8_lossy(&name)]));
    }
}

#[test]
fn manifests() {
    let x = emopipe::base::digest::Digest::of(b"a");
    let seeds = [
        format!(
            "# head\n\"a\" = {{ by = \"p::a\", blake3 = \"{x}\" }}\n\"edited\" = {{ by = \"p::a\", blake3 = \"{x}\" }}\n"
        ),
        format!("\"../a\" = {{ by = \"p::a\", blake3 = \"{x}\" }}\n"),
        format!("[a]\nby = \"p::\\u0007\"\nblake3 = \"{x}\"\n<<<<<<< ours\n"),
    ];
    run("manifest", &seeds.map(String::into_bytes), 600, properties::manifest, 2);
}

#[test]
fn lock_files() {
    let x = emopipe::base::digest::Digest::of(b"x");
    let seeds = [
        format!("[profile.default.sources.\"raw[a=b]\"]\n\"x.csv\" = \"{x}\"\n[profile.small.reports]\n"),
        format!("profile.p.reports = {{ t = {{ \"../x\" = \"{x}\" }} }}\n[other]\n"),
    ];
    run("lock", &seeds.map(String::into_bytes), 600, properties::lock, 2);
}

#[test]
fn data_files() {
    let csv = "text,label,\"x\"\n\"a, \"\"b\"\"\nc\",pos,1\r\nd,neg,2\n";
    let lines = "{\"id\": 36893488147419103233, \"text\": \"a\\u00e9\"}\n{\"id\": 1.0, \"text\": null, \"n\": {\"x\": [true]}}\n";
    let nested = r#"{"k": {"l": {"text": "t", "n": -1e5}}, "m": [{"text": "u"}, {}]}"#;
    let wide: Vec<u8> = format!("\u{feff}{csv}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let seeds = [
        (0, csv.as_bytes()),
        (1, lines.as_bytes()),
        (2, nested.as_bytes()),
        (3, b"a\tb\r1\t2\r"),
        (4, b"x\n\ny"),
        (5, &wide),
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|(kind, bytes)| [&[*kind], *bytes].concat()).collect();
    run("data", &seeds, 4000, properties::data, 2);
}

#[test]
fn package_listings() {
    let json = r#"{"files": [{"filename": "p-1.0-py3-none-any.whl", "url": "../p.whl", "hashes": {"sha256": "AB"}, "size": 7}]}"#;
    let html = "<!DOCTYPE html><A data-x=\"1\" href='../../f/p-1.0.tar.gz?a=1&amp;b=2#sha256=AB'>p</a><a>no</a>";
    let seeds = [[&[0], json.as_bytes()].concat(), [&[1], html.as_bytes()].concat()];
    run("listing", &seeds, 2000, properties::listing, 1);
}

#[test]
fn archives() {
    let inner = gz(&tar(&[("m.txt", b"deep"), ("other", b"x")]));
    let files: [(&str, &[u8]); 3] =
        [("pkg-1.0/m.txt", b"hello"), ("pkg/inner.tar.gz", &inner), ("inner.zip", &zip(&[("m.txt", b"z")]))];
    let seeds = [(1, gz(&tar(&files))), (0, zip(&files)), (2, zip(&files))];
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(kind, bytes)| [vec![kind], bytes].concat()).collect();
    run("archive", &seeds, 600, properties::archive, 3);
    // Mutations of what is compressed seldom get past its checksum, so the tar inside is mutated before it is packed.
    let plain = vec![tar(&files)];
    let mut random = Random::new("tar");
    for _ in 0..400 {
        properties::archive(&[vec![1], gz(&mutate(&plain, &mut random))].concat());
    }
}

#[test]
fn tokenizers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |name: &str| fs::read(fixtures.join(name)).unwrap();
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let one = |kind: &str, part: &str| -> Vec<u8> {
        let whole: serde_json::Value = serde_json::from_slice(&read(&format!("token-ids/{kind}.json"))).unwrap();
        with(0, whole[part].to_string().as_bytes())
    };
    let mut jsons = vec![with(0, properties::TOKENIZER.as_bytes())];
    jsons.extend(["word-piece", "unigram", "byte-level"].map(|kind| one(kind, "tokenizer")));
    run("tokenizer.json", &jsons, 600, properties::tokenizer, 8);
    // Whole files with one part replaced: most mutations of a large file touch its vocabulary.
    for (part, seeds) in PARTS {
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        let mut random = Random::new(part);
        for n in 0..250 {
            let seed = seeds.get(n).cloned().unwrap_or_else(|| mutate(&seeds, &mut random));
            let mut whole: serde_json::Value = serde_json::from_str(properties::TOKENIZER).unwrap();
            let Ok(value) = serde_json::from_slice(&seed) else { continue };
            whole[part] = value;
            properties::tokenizer(&with(0, whole.to_string().as_bytes()));
        }
    }
    let models = ["sentencepiece/rules.model", "sentencepiece/unused.model"].map(|name| with(1, &read(name)));
    run("tokenizer.model", &models, 400, properties::tokenizer, 8);
    let vocab = with(2, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##ly\n<s>\n".as_bytes());
    run("vocab.txt", &[vocab], 150, properties::tokenizer, 8);
    run("GGUF", &[with(3, &gguf())], 400, properties::tokenizer, 8);
    let config = r#"{"bos_token": {"content": "<s>", "lstrip": true, "__type": "AddedToken"}, "eos_token": "</s>", "legacy": false,
        "added_tokens_decoder": {"1": {"content": "<s>", "special": true}}, "tokenizer_class": "LlamaTokenizer",
        "chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}], "extra_special_tokens": {"x": "<x>"}}"#;
    run("tokenizer_config.json", &[with(4, config.as_bytes())], 400, properties::tokenizer, 8);
    let map = r#"{"eos_token": {"content": "</s>", "rstrip": true}, "additional_special_tokens": ["<x>", "<y>"]}"#;
    run("special_tokens_map.json", &[with(5, map.as_bytes())], 150, properties::tokenizer, 8);
    let added = with(6, br#"{"<x>": 110, "<y>": 111, "</s>": 2}"#);
    run("added_tokens.json", &[added], 150, properties::tokenizer, 8);
    let templates = TEMPLATES.map(|template| with(7, template.as_bytes()));
    run("chat template", &templates, 1200, properties::tokenizer, 8);
}

/// Parts of a `tokenizer.json`, each alone in a file that is otherwise whole.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "decoder",
        &[
            r#"{"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"Regex": ""}, "content": "y"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 3}]}"#,
            r#"{"type": "Replace", "pattern": {"String": ""}, "content": ""}"#,
            r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#,
            r#"{"type": "WordPiece", "prefix": "+", "cleanup": true}"#,
            r#"{"type": "CTC", "pad_token": "t", "word_delimiter_token": "|", "cleanup": true}"#,
            r#"{"type": "BPEDecoder", "suffix": ""}"#,
            r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#,
        ],
    ),
    (
        "normalizer",
        &[
            r#"{"type": "Replace", "pattern": {"Regex": "(?:)"}, "content": "yy"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "x*"}, "content": "yy"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "(?=t)|$"}, "content": ""}"#,
            r#"{"type": "Replace", "pattern": {"String": "t"}, "content": ""}"#,
            r#"{"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Prepend", "prepend": "▁"}]}"#,
            r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#,
            r#"{"type": "ByteLevel"}"#,
            r#"{"type": "Precompiled", "precompiled_charsmap": ""}"#,
            r#"{"type": "Strip", "strip_left": true, "strip_right": true}"#,
        ],
    ),
    (
        "pre_tokenizer",
        &[
            r#"{"type": "Split", "pattern": {"Regex": "(?:)"}, "behavior": "Removed", "invert": false}"#,
            r#"{"type": "Split", "pattern": {"Regex": "x*"}, "behavior": "MergedWithNext", "invert": false}"#,
            r#"{"type": "Split", "pattern": {"Regex": "(?=[a-z])"}, "behavior": "Isolated", "invert": true}"#,
            r#"{"type": "Split", "pattern": {"Regex": "a|"}, "behavior": "MergedWithPrevious", "invert": false}"#,
            r#"{"type": "Split", "pattern": {"Regex": "|"}, "behavior": "Contiguous", "invert": true}"#,
            r#"{"type": "Split", "pattern": {"String": "t"}, "behavior": "Removed", "invert": false}"#,
            r#"{"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Isolated"}, {"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 3}]}"#,
            r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#,
            r#"{"type": "CharDelimiterSplit", "delimiter": " "}"#,
            r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#,
            r#"{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"}]}"#,
        ],
    ),
];

const TEMPLATES: [&str; 4] = [
    "{{ bos_token }}{% for m in messages %}<s>{{ m['role'] }}\n{{ m.content | trim }}</s>{% endfor %}{% if add_generation_prompt %}x{% endif %}",
    "{%- set ns = namespace(n=0, s='') -%}{% macro f(x) %}[{{ x|upper }}]{% endmacro %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\
        {{ f(m.content) }}{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ ns.n }}{{ messages | tojson(indent=2) }}",
    "{% generation %}{{ messages[0]['content'].strip().split('</think>')[-1] }}{% endgeneration %}{{ strftime_now('%d %b %Y') }}{{ raise_exception('no') if tools else '' }}",
    "{{ 'x' * 30 ~ [1, 2][::-1] ~ {'a': none} }}{{ messages[0].content[:9] | replace('a', 'aa') | center(20) }}{% raw %}{{ x }}{% endraw %}{# c #}",
];

/// A byte-level tokenizer with a few merges, as GGUF has it.
fn gguf() -> Vec<u8> {
    use candle_core::quantized::gguf_file::{Value, write};
    let texts = |values: &[String]| Value::Array(values.iter().cloned().map(Value::String).collect());
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut bytes: Vec<String> = alphabet.iter().map(char::to_string).collect();
    bytes.sort();
    let mut tokens = vec!["<s>".to_owned(), "</s>".to_owned()];
    tokens.extend(bytes);
    tokens.extend(["th", "the"].map(str::to_owned));
    let types = (0..tokens.len()).map(|at| Value::I32(if at < 2 { 3 } else { 1 })).collect();
    let metadata = [
        ("general.architecture", Value::String("llama".into())),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.tokens", texts(&tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", texts(&["t h".to_owned(), "th e".to_owned()])),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ("tokenizer.ggml.eos_token_id", Value::U32(1)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &metadata, &[]).unwrap();
    out.into_inner()
}

#[test]
fn adapters() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let own = fs::read(folder.join("llama-tiny/peft-lora/adapter_config.json")).unwrap();
    let spelled = br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 3, "use_rslora": true, "rank_pattern": {"[qv]_proj": 4},
        "alpha_pattern": {"layers\\.1\\..*": 7.5}, "target_modules": ".*\\.(q|v)_proj", "exclude_modules": [".k_proj"]}"#;
    let others = ["bert-tiny/peft-lora/adapter_config.json", "llama-tiny/config.json"];
    let others = others.iter().map(|name| fs::read(folder.join(name)).unwrap());
    let seeds: Vec<Vec<u8>> = [own, spelled.to_vec()].into_iter().chain(others).collect();
    assert_eq!(properties::adapter_config(&seeds[1]), 6);
    run("adapter_config", &seeds, 1500, properties::adapter_config, 6);
    let weights = |name: &str| fs::read(folder.join(name).join("peft-lora/adapter_model.safetensors")).unwrap();
    let seeds = [weights("llama-tiny"), weights("bert-tiny")];
    run("adapter_weights", &seeds, 400, properties::adapter_weights, 6);
    // Most mutations hit numbers; these hit the header.
    let (mut random, len) =
        (Random::new("adapter_header"), u64::from_le_bytes(seeds[0][..8].try_into().unwrap()) as usize);
    for _ in 0..600 {
        let header = mutate(&[seeds[0][8..8 + len].to_vec()], &mut random);
        let size = (header.len() as u64).to_le_bytes();
        properties::adapter_weights(&[&size, header.as_slice(), &seeds[0][8 + len..]].concat());
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
