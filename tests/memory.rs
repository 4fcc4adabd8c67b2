//! What the memory plan says against what a real model takes. Set EMOPIPE_TEST_GGUF to SmolLM2-135M-Instruct's GGUF file.

mod common;

use std::{fmt::Write, fs, path::Path};

use common::Project;
use emopipe::store::Digest;

const PIPELINE: &str = r#"
[pipeline]
name = "memory"

[model.small]
family = "llama"
[model.small.config]
model_type = "llama"
vocab_size = 49152
hidden_size = 576
intermediate_size = 1536
num_hidden_layers = 30
num_attention_heads = 9
num_key_value_heads = 3
max_position_embeddings = 8192
tie_word_embeddings = true

[dataset.notes]
title = "Notes"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
split = { train = 0.5, dev = 0.0, test = 0.5 }
[dataset.notes.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-1, 0)", positive = "(0, 1]" }

[task.notes]
title = "Notes"
dataset = "notes"
scheme = "2"

[method.zero-shot]
title = "zero-shot"
adapter = "none"
[method.lora]
title = "LoRA"
adapter = "lora"
steps = 3
[method.ptuning2]
title = "P-Tuning v2"
adapter = "ptuning2"
steps = 3

[stages.raw]
kind = "download"
from = "dataset.notes"
[stages.backbone]
kind = "download"
from = "model.small"
[stages.examples]
kind = "prepare"
inputs = { raw = "raw" }
task = "notes"
[stages.tokens]
kind = "tokenize"
inputs = { examples = "examples", model = "backbone" }
task = "notes"
model = "small"
max_tokens = 160
[stages.train]
kind = "train"
matrix = { method = ["lora", "ptuning2"] }
inputs = { tokens = "tokens", model = "backbone" }
model = "small"
method = "${method}"
[stages.ranked]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "small"
task = "notes"
method = "zero-shot"
[stages.written]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "small"
task = "notes"
method = "zero-shot"
answer = "generate"
"#;

/// Sentences of 5 to 60 words.
fn notes() -> String {
    let mut out = String::new();
    for i in 0..96 {
        let words = 5 + i * 7 % 56;
        let text: Vec<String> = (0..words).map(|j| format!("thing{}", (i * 31 + j * 17) % 1000)).collect();
        let _ = writeln!(out, "{i}\t{}\t{}", if i % 2 == 0 { 1 } else { -1 }, text.join(" "));
    }
    out
}

/// The last total that `emopipe plan` gives for an action, in bytes.
fn planned(plan: &str, action: &str) -> f64 {
    let line = plan.lines().find_map(|l| l.trim_start().strip_prefix(&format!("{action}: ")));
    let mut words = line.unwrap_or_else(|| panic!("no {action} in:\n{plan}")).split(' ');
    let number: f64 = words.next().unwrap().parse().unwrap();
    match words.next().unwrap() {
        "MiB" => number * f64::from(1 << 20),
        "GiB" => number * f64::from(1 << 30),
        unit => panic!("{unit}"),
    }
}

#[test]
fn the_plan_is_near_what_a_real_model_takes() {
    let Ok(gguf) = std::env::var("EMOPIPE_TEST_GGUF") else {
        eprintln!(
            "SKIPPED the_plan_is_near_what_a_real_model_takes: set EMOPIPE_TEST_GGUF to SmolLM2-135M-Instruct's GGUF"
        );
        return;
    };
    let project = Project::new("");
    project.write("notes.tsv", &notes());
    let source = |table: &str, name: &str, path: &Path| {
        let pin = Digest::of_file(path).unwrap();
        format!("[{table}.source.\"{name}\"]\nurl = \"file:{}\"\nblake3 = \"{pin}\"\n", path.display())
    };
    let sources = source("model.small", "m.gguf", Path::new(&gguf))
        + &source("dataset.notes", "notes.tsv", &project.path("notes.tsv"));
    project.write("pipeline.toml", &format!("{PIPELINE}{sources}"));
    project.emopipe(&["run", "--until", "tokens"]).ok();
    let plan = project.emopipe(&["plan"]).ok().stdout();
    // One at a time, and every thread at work.
    project.emopipe(&["run", "--jobs", "1"]).ok();
    let mut runs: Vec<_> = fs::read_dir(project.path("cache/runs")).unwrap().map(|e| e.unwrap().path()).collect();
    runs.sort_by_key(|r| fs::metadata(r.join("journal.jsonl")).unwrap().modified().unwrap());
    let journal = fs::read_to_string(runs.pop().unwrap().join("journal.jsonl")).unwrap();
    let file = fs::metadata(&gguf).unwrap().len() as f64;
    for action in ["train[method=lora]", "train[method=ptuning2]", "ranked", "written"] {
        let measured = journal
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .find(|e| e["action"] == action && e["name"] == "peak_memory_bytes")
            .and_then(|e| e["value"].as_f64())
            .unwrap();
        // The mapped file counts as memory of the process, but the system takes it back.
        let planned = planned(&plan, action) + file;
        let ratio = planned / measured;
        println!("{action}: planned {:.0} MiB, measured {:.0} MiB", planned / 1048576.0, measured / 1048576.0);
        assert!((0.9..1.4).contains(&ratio), "{action}: planned / measured = {ratio:.2}");
    }
}
