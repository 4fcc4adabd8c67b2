//! An encoder through the real binary: a head with LoRA, with a prefix and alone, on a tiny model with random weights.

mod common;

use std::{fmt::Write, fs, path::Path};

use common::Project;

const PIPELINE: &str = r#"
[pipeline]
name = "encoder"

[model.tiny]
family = "bert"
title = "Tiny"
[model.tiny.source]
"config.json" = { url = "file:model/config.json" }
"model.safetensors" = { url = "file:model/model.safetensors" }
"vocab.txt" = { url = "file:model/vocab.txt" }

[dataset.films]
title = "Films"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
split = { train = 0.6, dev = 0.1, test = 0.3 }
[dataset.films.source]
"films.tsv" = { url = "file:films.tsv" }
[dataset.films.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-4, 0)", positive = "(0, 4]" }

[task.films]
title = "Films"
dataset = "films"
scheme = "2"
limit = { train = 40, dev = 0, test = 16 }

[method.lora]
title = "LoRA"
adapter = { kind = "lora" }
head = true
batch_size = 8
epochs = 8
learning_rate = 0.02
[method.prefix]
title = "Prefix"
adapter = { kind = "ptuning2", virtual_tokens = 4, init = "text", init_text = "a film" }
head = true
batch_size = 8
[method.alone]
title = "Head alone"
adapter = { kind = "none" }
head = true
batch_size = 8

[stages]
raw = { kind = "download", from = "dataset.films" }
model = { kind = "download", from = "model.tiny" }
data = { kind = "prepare", inputs = { raw = "raw" }, task = "films" }
tokens = { kind = "tokenize", inputs = { examples = "data", model = "model" }, task = "films", model = "tiny" }
[stages.train]
kind = "train"
matrix = { method = ["lora", "prefix", "alone"] }
inputs = { tokens = "tokens", model = "model" }
model = "tiny"
method = "${method}"
[stages.scores]
kind = "evaluate"
matrix = { method = ["lora", "prefix", "alone"] }
inputs = { tokens = "tokens", model = "model", adapter = "train" }
model = "tiny"
task = "films"
method = "${method}"
answer = "head"
[stages.tables]
kind = "report"
inputs = { evaluations = ["scores"], examples = "data" }
export = "reports"
title = "Tiny"
methods = ["lora", "prefix", "alone"]
[[stages.tables.tables]]
name = "table-1"
title = "Films"
tasks = ["films"]
metrics = ["accuracy"]
"#;

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ngood\ndull\nfilm\n,\nnumber\nnegative\npositive\n";

fn project(pipeline: &str) -> Project {
    let project = unpinned(pipeline);
    project.emopipe(&["pin"]).ok();
    project
}

fn unpinned(pipeline: &str) -> Project {
    let project = Project::new(pipeline);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-tiny");
    fs::create_dir(project.path("model")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture.join(name), project.path("model").join(name)).unwrap();
    }
    let mut vocab = WORDS.to_owned();
    let mut films = String::new();
    for i in 0..50 {
        let _ = writeln!(vocab, "{i}");
        let _ = writeln!(films, "{}\t1.5\ta good film, number {i}", 2 * i);
        let _ = writeln!(films, "{}\t-1.5\ta dull film, number {i}", 2 * i + 1);
    }
    project.write("model/vocab.txt", &vocab);
    project.write("films.tsv", &films);
    project
}

#[test]
fn every_method_gives_the_same_bytes_anywhere_and_lora_learns() {
    let report = |cores: &str| {
        let project = project(PIPELINE);
        project.emopipe(&["run", "--cores", cores]).ok();
        project.read("reports/results.csv")
    };
    let results = report("1");
    assert_eq!(results, report("2"));
    let accuracy = |title: &str| -> f64 {
        let mut rows = csv::Reader::from_reader(results.as_bytes());
        let headers = rows.headers().unwrap().clone();
        let place = |name: &str| headers.iter().position(|h| h == name).unwrap_or_else(|| panic!("{headers:?}"));
        let (method, metric, value) = (place("method"), place("metric"), place("value"));
        let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
        let row = rows.iter().find(|r| &r[method] == title && &r[metric] == "accuracy");
        row.unwrap_or_else(|| panic!("no {title} in\n{results}"))[value].parse().unwrap()
    };
    assert!(accuracy("lora") > 0.9, "{results}");
    accuracy("prefix");
    accuracy("alone");
}

#[test]
fn an_encoder_without_a_head_is_refused_before_anything_runs() {
    let no_head = PIPELINE.replace("adapter = { kind = \"lora\" }\nhead = true", "adapter = { kind = \"lora\" }");
    assert_ne!(no_head, PIPELINE);
    let ran = project(&no_head).emopipe(&["plan"]);
    assert_ne!(ran.code(), Some(0));
    for part in ["answers in no words", "head = true", "pipeline.toml"] {
        assert!(ran.stderr().contains(part), "no `{part}` in:\n{}", ran.stderr());
    }
}

#[test]
fn a_model_of_another_family_is_named() {
    let project = unpinned(PIPELINE);
    let config = project.read("model/config.json").replace("\"bert\"", "\"roberta\"");
    project.write("model/config.json", &config);
    project.emopipe(&["pin"]).ok();
    let ran = project.emopipe(&["run"]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert!(ran.stderr().contains("`model_type` is `roberta`"), "{}", ran.stderr());
}
