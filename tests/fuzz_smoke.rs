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
