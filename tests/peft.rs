//! Our adapters in Python, and Python's here: the same logits from transformers and PEFT.
//!
//! Needs a Python with torch, transformers and peft (`EMOPIPE_PYTHON`, default `python3`), and skips loudly without. ChatGLM's
//! own modelling code isn't ours to pass on; `python/chatglm.py` stands for it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::Command,
};

use candle_core::{Device, Tensor};
use emopipe::models::{
    Adapter, AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype, Mode, TokenTree,
    adapters::{self, CONFIG_FILE, Head, LoraSpec, PrefixInit, PrefixTuningSpec, WEIGHTS_FILE, WithHead},
    load,
};
use serde_json::json;

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

fn python() -> Option<String> {
    let python = std::env::var("EMOPIPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let ran = Command::new(&python).args(["-c", "import torch, transformers, peft"]).output();
    ran.is_ok_and(|ran| ran.status.success()).then_some(python)
}

/// `[tokens, vocab]`, or a head's `[labels]`.
fn logits(model: &dyn Backbone, adapter: &dyn Adapter, ids: &[u32]) -> Tensor {
    let mut tree = TokenTree::new();
    let leaf = tree.push(None, ids);
    if let Some(head) = adapter.head() {
        let summaries = model.summaries(&tree, &[leaf], adapter, Mode::Eval).unwrap();
        return head.logits(&summaries).unwrap().squeeze(0).unwrap();
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
    let lora = LoraSpec { rank: 4, alpha: 12.0, dropout: 0.1, target_modules };
    let prefix = |projection| {
        AdapterSpec::Ptuning2(PrefixTuningSpec { virtual_tokens: 5, projection, init: PrefixInit::Normal { std: 0.5 } })
    };
    let adapters = [("lora", AdapterSpec::Lora(lora)), ("prefix", prefix(None)), ("projected", prefix(Some(12)))];
    let create = |(name, spec)| {
        let mut adapter = adapters::create(&spec, model, 5, None).unwrap();
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
    adapters.map(create).into_iter().collect()
}

#[test]
fn adapters_mean_the_same_in_python() {
    let Some(python) = python() else {
        eprintln!(
            "SKIPPED adapters_mean_the_same_in_python: set EMOPIPE_PYTHON to a Python with torch, transformers and peft"
        );
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for Model { name, family, targets, labels, prefix } in MODELS {
        let folder = root.join("fixtures").join(name);
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let spec = BackboneSpec { family: family.into(), dtype: Dtype::F32, config: ConfigTable::new() };
        let model = load(&spec, &files.into(), &Device::Cpu).unwrap();
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
        fs::write(path("order.json"), order.to_string()).unwrap();
        let script = root.join("python/peft_logits.py");
        let ran = Command::new(&python).arg(script).arg(path("order.json")).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let results: HashMap<String, Tensor> =
            candle_core::safetensors::load(path("results.safetensors"), &Device::Cpu).unwrap();

        let check = |title: &str, adapter: &dyn Adapter| {
            for (i, ids) in TEXTS.iter().enumerate() {
                let error = error(&logits(model.as_ref(), adapter, ids), &results[&format!("{title}.{i}")]);
                println!("{name}, {title}, text {i}: {error:.1e}");
                assert!(error <= TOLERANCE, "{name}, {title}, text {i}: off by {error:.2e}");
            }
        };
        if labels.is_none() {
            check("base", &adapters::Untrained);
        }
        for (title, adapter) in &ours {
            check(title, adapter.as_ref());
        }
        for title in ["their lora", "their prefix"] {
            let read = |file: &str| fs::read(path(title).join(file)).unwrap();
            check(title, adapters::load(&read(CONFIG_FILE), &read(WEIGHTS_FILE), model.as_ref()).unwrap().as_ref());
        }
    }
}
