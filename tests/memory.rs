//! What the memory plan says against what is taken: on models that are drawn here, and on a real one where EMOPIPE_TEST_GGUF is
//! the path of SmolLM2-135M-Instruct's GGUF file.

mod common;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use common::{Project, journals::events, tiny};
use emopipe::base::digest::Digest;
use serde_json::{Value, json};

/// How far the plan may be off.
const TOLERANCE: f64 = 0.15;

/// Planned and measured bytes of every action that measures them.
fn figures(project: &Project) -> BTreeMap<String, (f64, f64)> {
    let events = events(project);
    let of = |name: &str| -> BTreeMap<String, f64> {
        let named = events.iter().filter(|e| e["name"] == name);
        named.map(|e| (e["action"].as_str().unwrap().to_owned(), e["value"].as_f64().unwrap())).collect()
    };
    let measured = of("peak_memory_bytes");
    let planned = of("planned_memory_bytes").into_iter();
    planned.map(|(action, bytes)| (action.clone(), (bytes, measured[&action]))).collect()
}

fn assert_near(project: &Project, actions: &[&str]) {
    let figures = figures(project);
    let mut wrong = Vec::new();
    for action in actions {
        let (planned, measured) = figures.get(*action).unwrap_or_else(|| panic!("{action} in {figures:?}"));
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        println!("{action}: planned {:.0} MiB, measured {:.0} MiB", mib(*planned), mib(*measured));
        if (planned / measured - 1.0).abs() > TOLERANCE {
            wrong.push(format!("{action}: {:.2}", planned / measured));
        }
    }
    assert!(wrong.is_empty(), "planned / measured: {wrong:?}");
}

/// Weights that look random, under the names that the family publishes.
fn write_weights(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    };
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| (0..shape.iter().product()).flat_map(|_| draw().to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const HIDDEN: usize = 192;
const WIDE: usize = 768;
const LAYERS: usize = 6;
const VOCAB: usize = 8192;

fn write_decoder(project: &Project) {
    let half = HIDDEN / 2;
    tiny::write_model(project);
    let config = json!({"model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS, "num_attention_heads": 6, "num_key_value_heads": 3,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": true});
    project.write("model/config.json", &config.to_string());
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for i in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![half, HIDDEN]),
            ("self_attn.v_proj", vec![half, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![WIDE, HIDDEN]),
            ("mlp.up_proj", vec![WIDE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, WIDE]),
        ] {
            tensors.push((format!("model.layers.{i}.{name}.weight"), shape));
        }
    }
    write_weights(&project.path("model/model.safetensors"), &tensors);
}

fn write_encoder(project: &Project) {
    fs::create_dir(project.path("model")).unwrap();
    let config = json!({"model_type": "bert", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS, "num_attention_heads": 6, "max_position_embeddings": 512, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12});
    project.write("model/config.json", &config.to_string());
    let words: Vec<String> = (0..1000).map(|i| format!("thing{i}")).collect();
    project.write(
        "model/vocab.txt",
        &format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nnegative\npositive\n{}\n", words.join("\n")),
    );
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: Vec<usize>| {
        if shape.len() == 2 && !name.contains("embeddings") || name.contains("LayerNorm") {
            tensors.push((format!("{name}.bias"), vec![shape[0]]));
        }
        tensors.push((format!("{name}.weight"), shape));
    };
    for (name, rows) in [("word", VOCAB), ("position", 512), ("token_type", 2)] {
        push(format!("embeddings.{name}_embeddings"), vec![rows, HIDDEN]);
    }
    push("embeddings.LayerNorm".to_owned(), vec![HIDDEN]);
    push("pooler.dense".to_owned(), vec![HIDDEN, HIDDEN]);
    for i in 0..LAYERS {
        for (name, shape) in [
            ("attention.self.query", vec![HIDDEN, HIDDEN]),
            ("attention.self.key", vec![HIDDEN, HIDDEN]),
            ("attention.self.value", vec![HIDDEN, HIDDEN]),
            ("attention.output.dense", vec![HIDDEN, HIDDEN]),
            ("attention.output.LayerNorm", vec![HIDDEN]),
            ("intermediate.dense", vec![WIDE, HIDDEN]),
            ("output.dense", vec![HIDDEN, WIDE]),
            ("output.LayerNorm", vec![HIDDEN]),
        ] {
            push(format!("encoder.layer.{i}.{name}"), shape);
        }
    }
    write_weights(&project.path("model/model.safetensors"), &tensors);
}

/// Without the model.
const DRAWN: &str = r#"
[pipeline]
name = "memory"

[dataset.notes]
title = "Notes"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
split = { train = 0.5, dev = 0.0, test = 0.5 }
[dataset.notes.source]
"notes.tsv" = { url = "file:notes.tsv" }
[dataset.notes.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-1, 0)", positive = "(0, 1]" }

[task.notes]
title = "Notes"
dataset = "notes"
scheme = "2"
instruction = "{labels}? {sentence}"

[method.zero-shot]
title = "zero-shot"
adapter = { kind = "none" }
[method.lora]
title = "LoRA"
adapter = { kind = "lora" }
steps = 3
[method.everywhere]
title = "LoRA everywhere"
adapter = { kind = "lora", target_modules = ["EVERYWHERE"] }
steps = 3
[method.checkpointed]
title = "LoRA, layers computed twice"
adapter = { kind = "lora", rank = 9 }     # the same result as `lora` would not be computed again
gradient_checkpointing = true
steps = 3
[method.ptuning2]
title = "P-Tuning v2"
adapter = { kind = "ptuning2" }
steps = 3
[method.head]
title = "LoRA and a head"
adapter = { kind = "lora" }
head = true
steps = 3
[method.alone]
title = "a head alone"
adapter = { kind = "none" }
head = true
steps = 3

[stages.raw]
kind = "download"
from = "dataset.notes"
[stages.backbone]
kind = "download"
from = "model.drawn"
[stages.examples]
kind = "prepare"
inputs = { raw = "raw" }
task = "notes"
[stages.tokens]
kind = "tokenize"
inputs = { examples = "examples", model = "backbone" }
task = "notes"
model = "drawn"
max_tokens = 200
[stages.train]
kind = "train"
matrix = { method = METHODS }
inputs = { tokens = "tokens", model = "backbone" }
model = "drawn"
method = "${method}"
[stages.classified]
kind = "evaluate"
matrix = { method = ["HEAD"] }
inputs = { tokens = "tokens", model = "backbone", adapter = "train" }
model = "drawn"
task = "notes"
method = "${method}"
answer = "head"
"#;

const IN_WORDS: &str = r#"
[stages.ranked]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "drawn"
task = "notes"
method = "zero-shot"
[stages.written]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "drawn"
task = "notes"
method = "zero-shot"
answer = "generate"
"#;

/// A run of a pipeline on a drawn model, one action at a time.
fn ran(
    family: &str,
    files: &[&str],
    methods: &Value,
    head: &str,
    output: &str,
    more: &str,
    write: fn(&Project),
) -> Project {
    let sources: String = files.iter().map(|f| format!("\"{f}\" = {{ url = \"file:model/{f}\" }}\n")).collect();
    let model = format!("[model.drawn]\nfamily = \"{family}\"\n[model.drawn.source]\n{sources}");
    let pipeline = DRAWN.replace("METHODS", &methods.to_string()).replace("HEAD", head).replace("EVERYWHERE", output);
    let project = Project::new(&format!("{pipeline}{more}{model}"));
    write(&project);
    project.write("notes.tsv", &notes());
    project.emopipe(&["pin"]).ok();
    project.emopipe(&["run", "--jobs", "1", "--cores", "2"]).ok();
    project
}

#[test]
fn the_plan_of_a_decoder_is_near_what_is_taken() {
    let files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let methods = ["lora", "everywhere", "checkpointed", "ptuning2", "head"];
    let project = ran("llama", &files, &json!(methods), "head", "o_proj", IN_WORDS, write_decoder);
    let trainings: Vec<String> = methods.iter().map(|m| format!("train[method={m}]")).collect();
    let mut actions: Vec<&str> = trainings.iter().map(String::as_str).collect();
    actions.extend(["classified[method=head]", "ranked", "written"]);
    assert_near(&project, &actions);
}

#[test]
fn the_plan_of_an_encoder_is_near_what_is_taken() {
    let files = ["config.json", "model.safetensors", "vocab.txt"];
    // An encoder answers by a head alone.
    let write = |project: &Project| {
        write_encoder(project);
        let pipeline = project.read("pipeline.toml").replace("\nsteps", "\nhead = true\nsteps");
        project.write("pipeline.toml", &pipeline.replace("head = true\nhead = true", "head = true"));
    };
    let methods = ["lora", "everywhere", "checkpointed", "ptuning2", "alone"];
    let project = ran("bert", &files, &json!(methods), "lora", "attention.output.dense", "", write);
    let trainings: Vec<String> = methods.iter().map(|m| format!("train[method={m}]")).collect();
    let mut actions: Vec<&str> = trainings.iter().map(String::as_str).collect();
    actions.push("classified[method=lora]");
    assert_near(&project, &actions);
}

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
adapter = { kind = "none" }
[method.lora]
title = "LoRA"
adapter = { kind = "lora" }
steps = 3
[method.ptuning2]
title = "P-Tuning v2"
adapter = { kind = "ptuning2" }
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
    // One at a time, and every thread at work.
    project.emopipe(&["run", "--jobs", "1"]).ok();
    assert_near(&project, &["train[method=lora]", "train[method=ptuning2]", "ranked", "written"]);
}
