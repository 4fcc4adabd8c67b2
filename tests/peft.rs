//! Our adapters in Python, and Python's here: the same logits from transformers and PEFT.
//!
//! Needs a Python with torch, transformers and peft (`EMOPIPE_PYTHON`, default `python3`), and skips loudly without. ChatGLM's
//! own modelling code isn't ours to pass on; `python/chatglm.py` stands for it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::{Device, Tensor};
use emopipe::models::{
    Adapter, AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype, Mode, TokenTree,
    adapters::{self, CONFIG_FILE, Head, LoraOptions, PrefixOptions, PromptOptions, WEIGHTS_FILE, WithHead},
    load,
};
use serde_json::{Value, json};

/// A fixture, and what its family calls some linear layers.
struct Model {
    name: &'static str,
    family: &'static str,
    /// Layers that our LoRA changes, and layers that theirs does.
    targets: [&'static [&'static str]; 2],
    /// Labels of a classification head; None: the model answers in words.
    labels: Option<usize>,
    /// What PEFT doesn't find out about the model by itself: how its prefix is laid out.
    prefix: Option<[(&'static str, usize); 3]>,
}

const LLAMA: [&[&str]; 2] = [&["q_proj", "v_proj", "down_proj"], &["k_proj", "gate_proj", "o_proj"]];

const CHATGLM: [&[&str]; 2] = [&["query_key_value", "dense_4h_to_h"], &["dense", "dense_h_to_4h"]];

const MODELS: [Model; 4] = [
    Model { name: "llama-tiny", family: "llama", targets: LLAMA, labels: None, prefix: None },
    Model { name: "qwen2-tiny", family: "llama", targets: LLAMA, labels: None, prefix: None },
    Model {
        name: "bert-tiny",
        family: "bert",
        targets: [&["query", "dense"], &["key", "value"]],
        labels: Some(5),
        prefix: None,
    },
    Model {
        name: "chatglm2-tiny",
        family: "chatglm",
        targets: CHATGLM,
        labels: None,
        prefix: Some([("num_layers", 3), ("token_dim", 32), ("num_attention_heads", 2)]),
    },
];

/// Largest difference, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;

const TEXTS: [&[u32]; 2] = [&[1, 17, 200, 3, 44, 45, 46, 9], &[250, 2]];

/// Where there is one for `test`.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("EMOPIPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let ran = Command::new(&python).args(["-c", "import torch, transformers, peft"]).output();
    let found = ran.is_ok_and(|ran| ran.status.success()).then_some(python);
    if found.is_none() {
        eprintln!("SKIPPED {test}: set EMOPIPE_PYTHON to a Python with torch, transformers and peft");
    }
    found
}

/// `[tokens, vocab]`, or a head's `[labels]`.
fn logits(model: &dyn Backbone, adapter: &dyn Adapter, ids: &[u32]) -> Tensor {
    let mut tree = TokenTree::new();
    let leaf = tree.push(None, ids);
    if let Some(head) = adapter.head() {
        let pooled_output = model.pooled_output(&tree, &[leaf], adapter, Mode::Eval).unwrap();
        return head.logits(&pooled_output).unwrap().squeeze(0).unwrap();
    }
    let hidden = model.forward(&tree, adapter, Mode::Eval).unwrap();
    model.logits(&hidden, &(0..ids.len() as u32).collect::<Vec<_>>()).unwrap()
}

fn error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let size = numbers(want).iter().fold(0f32, |a, b| a.max(b.abs()));
    let off =
        numbers(&(got - want).unwrap()).iter().fold(0f32, |a, b| if b.is_nan() { f32::NAN } else { a.max(b.abs()) });
    f64::from(off / size)
}

/// Adapters of every kind, with numbers that matter: LoRA's `B` starts at zero.
fn ours(model: &dyn Backbone, targets: &[&str], labels: Option<usize>) -> BTreeMap<&'static str, Box<dyn Adapter>> {
    let target_modules = targets.iter().map(|t| (*t).to_owned()).collect();
    let lora = LoraOptions { rank: 4, alpha: 12.0, dropout: 0.1, target_modules, ..Default::default() };
    let prefix = |projection| {
        AdapterSpec::from(PrefixOptions { virtual_tokens: 5, projection, init_std: Some(0.5), ..Default::default() })
    };
    let dora = LoraOptions { use_rslora: true, use_dora: true, ..lora.clone() };
    let adapters = [
        ("lora", AdapterSpec::from(lora)),
        ("dora", AdapterSpec::from(dora)),
        ("prompt", PromptOptions { virtual_tokens: 4, ..Default::default() }.into()),
        ("prefix", prefix(None)),
        ("projected", prefix(Some(12))),
    ];
    let create = |(name, spec): (&'static str, AdapterSpec)| {
        let mut adapter = spec.create(model, 5, None).unwrap();
        if let Some(labels) = labels {
            adapter = Box::new(WithHead { adapter, head: Head::new(labels, model, 5).unwrap() });
        }
        for (_, var) in adapter.parameters() {
            let numbers: Vec<f32> = (0..var.elem_count()).map(|i| ((i * 17) % 23) as f32 / 115.0 - 0.1).collect();
            let noise = Tensor::from_vec(numbers, var.shape(), &Device::Cpu).unwrap();
            var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
        }
        (name, adapter)
    };
    // An encoder takes no prompt, and the stand-in for ChatGLM no embeddings.
    let takes_prompt = labels.is_none() && targets.contains(&"q_proj");
    adapters.into_iter().filter(|(name, _)| takes_prompt || *name != "prompt").map(create).collect()
}

/// The adapter's logits with those that Python has under `title`.
fn compare(what: &str, model: &dyn Backbone, adapter: &dyn Adapter, results: &HashMap<String, Tensor>, title: &str) {
    for (text, ids) in TEXTS.iter().enumerate() {
        let Some(want) = results.get(&format!("{title}.{text}")) else {
            assert!(adapter.head().is_some() && adapter.method() == "ptuning2", "{what}: no result");
            eprintln!("SKIPPED {what}: this release of transformers lets no prefix into the model");
            continue;
        };
        let error = error(&logits(model, adapter, ids), want);
        println!("{what}, text {text}: {error:.1e}");
        assert!(error <= TOLERANCE, "{what}, text {text}: off by {error:.2e}");
    }
}

/// What Python makes of an order.
fn ask(python: &str, work: &Path, order: &Value) -> HashMap<String, Tensor> {
    fs::write(work.join("order.json"), order.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/peft_logits.py");
    let ran = Command::new(python).arg(script).arg(work.join("order.json")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    candle_core::safetensors::load(work.join("results.safetensors"), &Device::Cpu).unwrap()
}

fn load_adapter(folder: &Path, model: &dyn Backbone) -> emopipe::base::error::Result<Box<dyn Adapter>> {
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    adapters::load(&read(CONFIG_FILE), &read(WEIGHTS_FILE), model)
}

fn fixture(name: &str, family: &str) -> (PathBuf, Box<dyn Backbone>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
    let spec = BackboneSpec { family: family.into(), dtype: Dtype::F32, config: ConfigTable::new() };
    let model = load(&spec, &files.into(), &Device::Cpu).unwrap();
    (folder, model)
}

#[test]
fn adapters_mean_the_same_in_python() {
    let Some(python) = python("adapters_mean_the_same_in_python") else { return };
    for Model { name, family, targets, labels, prefix } in MODELS {
        let (folder, model) = fixture(name, family);
        let work = tempfile::tempdir().unwrap();
        let path = |name: &str| work.path().join(name);

        let ours = ours(model.as_ref(), targets[0], labels);
        for (name, adapter) in &ours {
            let saved = adapter.save("tiny").unwrap();
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join(CONFIG_FILE), saved.config).unwrap();
            fs::write(path(name).join(WEIGHTS_FILE), saved.weights).unwrap();
        }
        let lora = json!({ "r": 3, "lora_alpha": 7, "target_modules": targets[1] });
        let layout = prefix.into_iter().flatten().map(|(key, value)| (key, json!(value)));
        let prefix: BTreeMap<_, _> = layout.chain([("num_virtual_tokens", json!(7))]).collect();
        let order = json!({
            "model": folder,
            "family": family,
            "task": if labels.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" },
            "texts": TEXTS,
            "load": ours.keys().map(|name| (*name, path(name))).collect::<BTreeMap<_, _>>(),
            "make": {
                "their lora": { "kind": "lora", "folder": path("their lora"), "config": lora },
                "their prefix": { "kind": "prefix", "folder": path("their prefix"), "config": prefix },
            },
            "results": path("results.safetensors"),
        });
        let results = ask(&python, work.path(), &order);

        let check = |title: &str, adapter: &dyn Adapter| {
            compare(&format!("{name}, {title}"), model.as_ref(), adapter, &results, title);
        };
        if labels.is_none() {
            check("base", &adapters::Untrained);
        }
        for (title, adapter) in &ours {
            check(title, adapter.as_ref());
        }
        for title in ["their lora", "their prefix"] {
            check(title, load_adapter(&path(title), model.as_ref()).unwrap().as_ref());
        }
    }
}

/// Configurations that PEFT takes, for a model and a task of theirs.
struct Spellings {
    model: &'static str,
    family: &'static str,
    task: &'static str,
    /// Type of adapter, and the keys.
    read: Vec<(&'static str, Value)>,
    /// The same, with what the refusal names.
    refused: Vec<(&'static str, Value, &'static str)>,
}

fn spellings() -> Vec<Spellings> {
    let qv = || json!(["q_proj", "v_proj"]);
    let llama = vec![
        ("lora", json!({ "target_modules": r".*layers\.[01]\.self_attn\.(q|v)_proj" })),
        ("lora", json!({ "target_modules": r"(?i).*\.(?!o_)[A-Z]_PROJ|model\.layers\.2\.mlp\.\w+_proj" })),
        (
            "lora",
            json!({ "target_modules": "all-linear", "exclude_modules": ["mlp.up_proj", "model.layers.0.self_attn.q_proj"] }),
        ),
        ("lora", json!({ "target_modules": qv(), "exclude_modules": r".*\.0\..*|.*v_proj" })),
        ("lora", json!({ "target_modules": qv(), "layers_to_transform": [1] })),
        ("lora", json!({ "target_modules": qv(), "layers_to_transform": 2, "layers_pattern": "layers" })),
        ("lora", json!({ "target_modules": qv(), "layers_to_transform": [0, 2], "layers_pattern": ["h", "layers"] })),
        (
            "lora",
            json!({ "target_modules": ["v_proj", "model.layers.0.self_attn.q_proj"], "layers_to_transform": [1, 2] }),
        ),
        ("lora", json!({ "target_modules": ["q_proj", "query_key_value", "self_attn.o_proj"] })),
        ("lora", json!({ "target_modules": null })),
        ("lora", json!({ "target_modules": qv(), "use_rslora": true, "r": 6, "lora_alpha": 5 })),
        ("lora", json!({ "target_modules": qv(), "use_dora": true, "lora_dropout": 0.1 })),
        (
            "lora",
            json!({ "target_modules": "all-linear", "use_dora": true, "use_rslora": true, "rank_pattern": { "q_proj": 2 },
            "alpha_pattern": { "v_proj": 3 } }),
        ),
        (
            "lora",
            json!({ "target_modules": qv(), "r": 4, "lora_alpha": 10, "rank_pattern": { "q_proj": 2, r"layers\.1\..*v_proj": 7 },
            "alpha_pattern": { r"model\.layers\.[02]\.self_attn\.q_proj": 3, "self_attn.v_proj": 21, "v_proj": 1 } }),
        ),
        (
            "lora",
            json!({ "target_modules": qv(), "use_rslora": true, "rank_pattern": { "^model.layers.0.self_attn.q_proj": 3 } }),
        ),
        (
            "lora",
            json!({ "target_modules": qv(), "fan_in_fan_out": true, "lora_dropout": 0.3, "init_lora_weights": "gaussian" }),
        ),
        (
            "lora",
            json!({ "target_modules": qv(), "init_lora_weights": false, "bias": "all", "ensure_weight_tying": true }),
        ),
        ("lora", json!({ "target_modules": qv(), "init_lora_weights": "orthogonal", "bias": "lora_only" })),
        ("prefix", json!({ "num_virtual_tokens": 3, "prefix_projection": true, "encoder_hidden_size": 12 })),
        ("prefix", json!({ "num_virtual_tokens": 3, "token_dim": 64, "num_attention_heads": 4, "num_layers": 3 })),
        ("prefix", json!({ "num_virtual_tokens": 3, "init_weights": "zero" })),
        ("prompt", json!({ "num_virtual_tokens": 3 })),
        ("prompt", json!({ "num_virtual_tokens": 3, "prompt_tuning_init": "SAMPLE_VOCAB", "token_dim": 64 })),
    ];
    let refused = vec![
        ("lora", json!({ "target_modules": qv(), "modules_to_save": ["lm_head"] }), "modules_to_save"),
        ("lora", json!({ "target_modules": qv(), "modules_to_save": ["embed_tokens", "norm"] }), "modules_to_save"),
        ("lora", json!({ "target_modules": qv(), "trainable_token_indices": [3, 4] }), "trainable_token_indices"),
        ("lora", json!({ "target_modules": qv(), "alora_invocation_tokens": [3, 4] }), "alora_invocation_tokens"),
        ("lora", json!({ "target_modules": qv(), "layer_replication": [[0, 2], [1, 3]] }), "layer_replication"),
        ("lora", json!({ "target_modules": qv(), "lora_bias": true }), "lora_bias"),
        ("lora", json!({ "target_modules": qv(), "init_lora_weights": "pissa" }), "init_lora_weights"),
        ("lora", json!({ "target_modules": qv(), "init_lora_weights": "olora" }), "init_lora_weights"),
        (
            "lora",
            json!({ "target_modules": [], "target_parameters": ["self_attn.q_proj.weight"] }),
            "target_parameters",
        ),
        ("lora", json!({ "target_modules": ["q_proj", "lm_head"] }), "lm_head"),
        ("lora", json!({ "target_modules": ["q_proj", "embed_tokens"] }), "embed_tokens"),
        ("ia3", json!({ "target_modules": ["k_proj"], "feedforward_modules": [] }), "IA3"),
    ];
    vec![
        Spellings { model: "llama-tiny", family: "llama", task: "CAUSAL_LM", read: llama, refused },
        Spellings {
            model: "llama-tiny",
            family: "llama",
            task: "SEQ_CLS",
            read: vec![
                ("lora", json!({ "target_modules": qv() })),
                ("lora", json!({ "target_modules": "all-linear", "modules_to_save": ["score"] })),
                ("prefix", json!({ "num_virtual_tokens": 3 })),
            ],
            refused: vec![],
        },
        Spellings {
            model: "qwen2-tiny",
            family: "llama",
            task: "CAUSAL_LM",
            read: vec![("lora", json!({ "target_modules": ["o_proj"], "bias": "lora_only" }))],
            refused: vec![
                ("lora", json!({ "target_modules": qv(), "bias": "all" }), "`bias`"),
                ("lora", json!({ "target_modules": ["q_proj"], "bias": "lora_only" }), "`bias`"),
            ],
        },
        Spellings {
            model: "bert-tiny",
            family: "bert",
            task: "SEQ_CLS",
            read: vec![
                ("lora", json!({ "target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer" })),
                ("lora", json!({ "target_modules": "all-linear" })),
                ("lora", json!({ "target_modules": r".*attention\.output\.dense|.*pooler\.dense" })),
                ("prefix", json!({ "num_virtual_tokens": 3 })),
            ],
            refused: vec![
                ("lora", json!({ "target_modules": ["query"], "modules_to_save": ["pooler"] }), "modules_to_save"),
                ("lora", json!({ "target_modules": ["query"], "bias": "all" }), "`bias`"),
            ],
        },
    ]
}

#[test]
fn other_spellings_mean_what_they_mean_in_python_or_are_refused_by_name() {
    let Some(python) = python("other_spellings_mean_what_they_mean_in_python_or_are_refused_by_name") else { return };
    for Spellings { model: name, family, task, read, refused } in spellings() {
        let (folder, model) = fixture(name, family);
        let work = tempfile::tempdir().unwrap();
        let spec = |title: &str, kind: &str, config: &Value| {
            let mut config = config.clone();
            if kind == "lora" {
                for (key, value) in [("r", json!(4)), ("lora_alpha", json!(8))] {
                    config.as_object_mut().unwrap().entry(key).or_insert(value);
                }
            }
            (title.to_owned(), json!({ "kind": kind, "folder": work.path().join(title), "config": config }))
        };
        let make = read.iter().enumerate().map(|(i, (kind, config))| spec(&format!("read {i}"), kind, config));
        let write =
            refused.iter().enumerate().map(|(i, (kind, config, _))| spec(&format!("refused {i}"), kind, config));
        let order = json!({
            "model": folder,
            "family": family,
            "task": task,
            "texts": TEXTS,
            "load": {},
            "make": make.collect::<serde_json::Map<_, _>>(),
            "write": write.collect::<serde_json::Map<_, _>>(),
            "results": work.path().join("results.safetensors"),
        });
        let results = ask(&python, work.path(), &order);
        for (i, (kind, config)) in read.iter().enumerate() {
            let title = format!("read {i}");
            let adapter = load_adapter(&work.path().join(&title), model.as_ref());
            let adapter = adapter.unwrap_or_else(|e| panic!("{name}, {kind} {config}: {e}"));
            // What is read can be written in one spelling that means the same.
            let saved = adapter.save("tiny").unwrap();
            let again = adapters::load(&saved.config, &saved.weights, model.as_ref()).unwrap();
            for adapter in [adapter, again] {
                let what = format!("{name}, {kind} {config}");
                compare(&what, model.as_ref(), adapter.as_ref(), &results, &title);
            }
        }
        for (i, (kind, config, says)) in refused.iter().enumerate() {
            match load_adapter(&work.path().join(format!("refused {i}")), model.as_ref()) {
                Ok(_) => panic!("{name}, {kind} {config} isn't refused"),
                Err(e) => assert!(e.message.contains(says) && e.help.is_some(), "{kind} {config}: {e}"),
            }
        }
    }
}
