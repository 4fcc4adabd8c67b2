//! The properties of `fuzz/` on seeded mutations of well-formed inputs: a short run that needs no fuzzer.

#[path = "../fuzz/properties.rs"]
mod properties;

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
};

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
        let key = emopipe::store::Digest::of(&[i % 3]);
        store.publish(key, "stage", folder.path(), &serde_json::json!({})).unwrap();
        store.note_use(key, "other").unwrap();
    }
    store.forget(&emopipe::store::Digest::of(&[1])).unwrap();
    let seeds = [fs::read(dir.path().join("index.jsonl")).unwrap(), b"\n\n\0 {}".to_vec()];
    run("index", &seeds, 150, properties::index, 3);
}

#[test]
fn records() {
    let entry = |name: &str| serde_json::json!({ "name": name, "digest": emopipe::store::Digest::of(name.as_bytes()), "size": name.len() });
    let key = emopipe::store::Digest::of(b"key");
    let seed = |names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| entry(name)).collect();
        let json = serde_json::json!({ "key": key, "files": files, "preimage": entry("") }).to_string();
        let sum = emopipe::store::Digest::of(json.as_bytes());
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
    let x = emopipe::store::Digest::of(b"a");
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
    let x = emopipe::store::Digest::of(b"x");
    let seeds = [
        format!("[profile.default.sources.\"raw[a=b]\"]\n\"x.csv\" = \"{x}\"\n[profile.small.reports]\n"),
        format!("profile.p.reports = {{ t = {{ \"../x\" = \"{x}\" }} }}\n[other]\n"),
    ];
    run("lock", &seeds.map(String::into_bytes), 600, properties::lock, 2);
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
