//! Adapters from elsewhere: all that their files hold is used or refused by name, and what isn't a number is no answer.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use common::{
    Project, Ran,
    tiny::{CARD, films, write_model},
};
use emopipe::{
    base::error::{Error, Result},
    models::{
        Adapter, AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype,
        adapters::{self, CONFIG_FILE, LoraOptions, PrefixOptions, SavedAdapter, WEIGHTS_FILE},
        load,
    },
};
use serde_json::{Value, json};

/// PEFT's own adapter for a tiny model: rank 4 on queries and values of three layers.
struct Fixture {
    model: Box<dyn Backbone>,
    config: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    fn new(name: &str, family: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let spec = BackboneSpec { family: family.into(), dtype: Dtype::F32, config: ConfigTable::new() };
        let adapter = folder.join("peft-lora");
        Self {
            model: load(&spec, &files.into(), &Device::Cpu).unwrap(),
            config: serde_json::from_slice(&fs::read(adapter.join(CONFIG_FILE)).unwrap()).unwrap(),
            tensors: candle_core::safetensors::load(adapter.join(WEIGHTS_FILE), &Device::Cpu)
                .unwrap()
                .into_iter()
                .collect(),
        }
    }

    /// With other keys in the configuration.
    fn with(&self, keys: Value) -> Value {
        let mut config = self.config.clone();
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        config
    }

    fn load(&self, config: &Value, tensors: &BTreeMap<String, Tensor>) -> Result<Box<dyn Adapter>> {
        adapters::load(&serde_json::to_vec(config).unwrap(), &bytes(tensors), self.model.as_ref())
    }

    fn refusal(&self, config: &Value, tensors: &BTreeMap<String, Tensor>) -> Error {
        match self.load(config, tensors) {
            Ok(_) => panic!("isn't refused: {config}, {:?}", tensors.keys().collect::<Vec<_>>()),
            Err(e) => e,
        }
    }

    /// Those of the layers of which this is true.
    fn tensors(&self, of: impl Fn(&str) -> bool) -> BTreeMap<String, Tensor> {
        self.tensors.iter().filter(|(name, _)| of(name)).map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }
}

fn bytes(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    candle_core::safetensors::save(&tensors.clone().into_iter().collect(), &path).unwrap();
    fs::read(path).unwrap()
}

fn names(adapter: &dyn Adapter) -> Vec<String> {
    adapter.parameters().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_would_compute_something_else_is_refused_by_its_key() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let cases = [
        ("alora_invocation_tokens", json!([1, 2])),
        ("arrow_config", json!({ "top_k": 2 })),
        ("bias", json!("some")),
        ("enable_lora", json!([true, false])),
        ("exclude_modules", json!("(")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!(3)),
        ("kasa_config", json!({})),
        ("layer_replication", json!([[0, 2]])),
        ("layers_pattern", json!(7)),
        ("layers_to_transform", json!("all")),
        ("lora_alpha", json!("16")),
        ("lora_bias", json!(true)),
        ("megatron_config", json!({ "hidden": 1 })),
        ("modules_to_save", json!(["lm_head"])),
        ("modules_to_save", json!("lm_head")),
        ("monteclora_config", json!({ "num_samples": 2 })),
        ("peft_type", json!("VERA")),
        ("r", json!(-1)),
        ("rank_pattern", json!({ "q_proj": "4" })),
        ("rank_pattern", json!({ "q_proj": 0.5 })),
        ("alpha_pattern", json!({ "[[a]": 1 })),
        ("target_modules", json!("[a--b]")),
        ("target_modules", json!("nowhere")),
        ("target_modules", json!(["nowhere"])),
        ("target_modules", Value::Null),
        ("target_parameters", json!(["experts.weight"])),
        ("task_type", json!("TOKEN_CLS")),
        ("trainable_token_indices", json!({ "embed_tokens": [1] })),
        ("use_bdlora", json!({ "nblocks": 2 })),
        ("use_dora", json!("yes")),
        ("use_qalora", json!(true)),
        ("use_rslora", json!("yes")),
        ("velora_config", json!({ "scale": 2 })),
        // Keys that nobody knows.
        ("use_mora", json!(true)),
        ("a_key_of_tomorrow", json!(0)),
        ("scaling", json!({})),
    ];
    for (key, value) in cases {
        let e = fixture.refusal(&fixture.with(json!({ key: value.clone() })), &fixture.tensors);
        assert!(e.message.contains(&format!("`{key}`")) && e.message.contains(CONFIG_FILE), "{key} = {value}: {e}");
    }
    let both = json!({ "target_modules": "all-linear", "layers_to_transform": [1] });
    assert!(fixture.refusal(&fixture.with(both), &fixture.tensors).message.contains("`layers_to_transform`"));
    for config in ["", "[]", "{\"peft_type\": \"LORA\"", "null"] {
        let e =
            adapters::load(config.as_bytes(), &bytes(&fixture.tensors), fixture.model.as_ref()).map(drop).unwrap_err();
        assert!(e.message.contains(CONFIG_FILE), "{e}");
    }
}

#[test]
fn what_changes_nothing_is_no_hindrance() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let scale_of = |config: &Value| {
        let adapter = fixture.load(config, &fixture.tensors).unwrap_or_else(|e| panic!("{config}: {e}"));
        assert_eq!(names(adapter.as_ref()).len(), 12, "{config}");
        adapter.low_rank("model.layers.1.self_attn.q_proj").unwrap().scale
    };
    for keys in [
        json!({}),
        json!({ "bias": "all" }),
        json!({ "bias": "lora_only", "init_lora_weights": "Gaussian" }),
        json!({ "init_lora_weights": null, "task_type": null, "rank_pattern": null }),
        json!({ "init_lora_weights": "eva", "eva_config": { "rho": 1.0 } }),
        json!({ "fan_in_fan_out": true, "inference_mode": false, "megatron_core": "other", "a_key_of_tomorrow": null }),
        json!({ "layers_to_transform": [], "layers_pattern": "", "modules_to_save": [], "exclude_modules": "" }),
        json!({ "layers_to_transform": [0, 1, 2, 9], "layers_pattern": ["blocks", "layers"] }),
        json!({ "modules_to_save": ["classifier"], "alora_invocation_tokens": [], "trainable_token_indices": [] }),
        json!({ "target_modules": r".*self_attn\.[qv]_proj" }),
        json!({ "target_modules": ["q_proj", "self_attn.v_proj", "c_attn"], "exclude_modules": ["lm_head", "mlp.q_proj"] }),
        json!({ "target_modules": "ALL-linear", "exclude_modules": r"(?!.*[qv]_proj).*" }),
        json!({ "r": 2, "rank_pattern": { "[qv]_proj": 4 }, "lora_alpha": 1, "alpha_pattern": { "proj": 3, ".*_proj": 16 } }),
        json!({ "lora_alpha": 8, "use_rslora": true }),
    ] {
        assert_eq!(scale_of(&fixture.with(keys.clone())), 4.0, "{keys}");
    }
    // The keys of the first releases of PEFT.
    let scale = scale_of(&json!({
        "base_model_name_or_path": "tiny", "bias": "none", "enable_lora": null, "fan_in_fan_out": false, "inference_mode": true,
        "lora_alpha": 16, "lora_dropout": 0.05, "merge_weights": false, "modules_to_save": null, "peft_type": "LORA", "r": 4,
        "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM",
    }));
    assert_eq!(scale, 4.0);
}

#[test]
fn layers_are_chosen_by_their_numbers() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let one = fixture.tensors(|name| name.contains(".layers.1."));
    for keys in [
        json!({ "layers_to_transform": 1 }),
        json!({ "layers_to_transform": [1], "layers_pattern": "layers" }),
        json!({ "exclude_modules": r".*\.[02]\..*" }),
        json!({ "target_modules": r"model\.layers\.1\.self_attn\.[qv]_proj" }),
    ] {
        let adapter = fixture.load(&fixture.with(keys.clone()), &one).unwrap();
        assert_eq!(names(adapter.as_ref()), one.keys().cloned().collect::<Vec<_>>(), "{keys}");
        let saved = adapter.save("tiny").unwrap();
        let again = adapters::load(&saved.config, &saved.weights, fixture.model.as_ref()).unwrap();
        assert_eq!(names(again.as_ref()), names(adapter.as_ref()), "{keys}");
        // The tensors of the other layers would be left over.
        let e = fixture.refusal(&fixture.with(keys), &fixture.tensors);
        assert!(e.message.contains("model.layers.0.") && e.message.contains("target_modules"), "{e}");
    }
    let e = fixture.refusal(&fixture.config, &one);
    assert!(e.message.contains("no tensor") && e.message.contains("layers.0"), "{e}");
}

#[test]
fn every_tensor_is_read_or_refused_by_name() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let with = |name: &str, tensor: Tensor| {
        let mut tensors = fixture.tensors.clone();
        tensors.insert(name.to_owned(), tensor);
        tensors
    };
    for name in [
        "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
        "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.norm.weight",
        "prompt_embeddings",
    ] {
        let e = fixture.refusal(&fixture.config, &with(name, zeros(&[4])));
        assert!(e.message.contains(name) && e.message.contains(WEIGHTS_FILE) && e.help.is_some(), "{e}");
    }
    let bias = with("base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias", zeros(&[64]));
    let e = fixture.refusal(&fixture.with(json!({ "bias": "lora_only" })), &bias);
    assert!(e.message.contains("`bias` is `lora_only`") && e.message.contains("q_proj"), "{e}");

    let name = "base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight";
    for odd in [f32::NAN, f32::INFINITY] {
        let e = fixture.refusal(&fixture.config, &with(name, Tensor::full(odd, (32, 4), &Device::Cpu).unwrap()));
        assert!(e.message.contains(name) && e.message.contains("not a finite number"), "{e}");
    }
    let e = fixture.refusal(&fixture.config, &with(name, zeros(&[32, 4]).to_dtype(DType::U8).unwrap()));
    assert!(e.message.contains(name) && e.message.contains("type u8"), "{e}");
    let halves = fixture.tensors.iter().map(|(name, t)| (name.clone(), t.to_dtype(DType::BF16).unwrap())).collect();
    assert!(fixture.load(&fixture.config, &halves).is_ok());
}

#[test]
fn heads_are_read_where_they_are_and_missed_where_they_should_be() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let head = Tensor::zeros((3, 64), DType::F32, &Device::Cpu).unwrap();
    let mut tensors = fixture.tensors.clone();
    tensors.insert("base_model.model.score.weight".to_owned(), head);
    // The reference implementation's decoders have a head without bias.
    let keys = json!({ "task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"] });
    let adapter = fixture.load(&fixture.with(keys.clone()), &tensors).unwrap();
    assert_eq!(adapter.head().map(adapters::Head::labels), Some(3));
    let e = fixture.refusal(&fixture.with(keys), &fixture.tensors);
    assert!(e.message.contains("no classification head `score`") && e.help.unwrap().contains("task_type"));

    let bert = Fixture::new("bert-tiny", "bert");
    assert!(bert.load(&bert.config, &bert.tensors).unwrap().head().is_some());
    let e = bert.refusal(&bert.config, &bert.tensors(|name| !name.ends_with("classifier.bias")));
    assert!(e.message.contains("classifier.bias"), "{e}");
}

#[test]
fn every_key_of_a_prefix_must_fit() {
    let fixture = Fixture::new("llama-tiny", "llama");
    let table = Tensor::zeros((5, 3 * 2 * 32), DType::F32, &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([("prompt_embeddings".to_owned(), table)]);
    let config = |keys: Value| {
        let mut config = json!({ "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5 });
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        config
    };
    for keys in [
        json!({}),
        json!({ "num_layers": 3, "token_dim": 32, "num_attention_heads": 2, "num_transformer_submodules": 1 }),
        json!({ "num_layers": 3, "token_dim": 64, "num_attention_heads": 4, "num_transformer_submodules": null }),
        json!({ "prefix_projection": true, "encoder_hidden_size": 12, "init_weights": "zero", "modules_to_save": null }),
    ] {
        let adapter = fixture.load(&config(keys), &tensors).unwrap();
        assert_eq!((adapter.method(), adapter.facts()), ("ptuning2", vec![("virtual_tokens", json!(5))]));
    }
    for (key, value) in [
        ("num_virtual_tokens", Value::Null),
        ("num_virtual_tokens", json!(0)),
        ("num_layers", json!(2)),
        ("token_dim", json!(16)),
        ("num_attention_heads", json!(8)),
        ("num_transformer_submodules", json!(2)),
        ("r", json!(4)),
        ("prefix_scale", json!(2)),
    ] {
        let e = fixture.refusal(&config(json!({ key: value })), &tensors);
        assert!(e.message.contains(&format!("`{key}`")), "{e}");
    }
    let e = fixture.refusal(&config(json!({ "token_dim": 32, "num_attention_heads": 4 })), &tensors);
    assert!(e.message.contains("`token_dim` 32"), "{e}");
    assert!(
        fixture.refusal(&config(json!({ "num_virtual_tokens": 4 })), &tensors).message.contains("prompt_embeddings")
    );
}

const PIPELINE: &str = r#"
[pipeline]
name = "tiny"

[model.tiny]
family = "llama"
[model.tiny.source]
"config.json" = { url = "file:model/config.json" }
"model.safetensors" = { url = "file:model/model.safetensors" }
"tokenizer.json" = { url = "file:model/tokenizer.json" }
"tokenizer_config.json" = { url = "file:model/tokenizer_config.json" }
[model.adapter]
family = "llama"
[model.adapter.source]
"adapter_config.json" = { url = "file:adapter/adapter_config.json" }
"adapter_model.safetensors" = { url = "file:adapter/adapter_model.safetensors" }

[task.films-2]
title = "Films-2"
dataset = "films"
scheme = "2"
limit = { train = 8, dev = 8, test = 8 }

[method.lora]
title = "LoRA"
adapter = { kind = "lora", rank = 4 }
steps = 2
batch_size = 4
[method.other]
title = "LoRA, rank 8"
adapter = { kind = "lora", rank = 8 }
[method.prefix]
title = "Prefix"
adapter = { kind = "ptuning2" }
[method.head]
title = "Head"
adapter = { kind = "lora" }
head = true
[method.none]
title = "None"
adapter = { kind = "none" }

[stages]
raw = { kind = "download", from = "dataset.films" }
backbone = { kind = "download", from = "model.tiny" }
fetched = { kind = "download", from = "model.adapter" }
examples = { kind = "prepare", inputs = { raw = "raw" }, task = "films-2" }
tokens = { kind = "tokenize", inputs = { examples = "examples", model = "backbone" }, task = "films-2", model = "tiny" }
"#;

/// A stage that evaluates with `keys`; the adapter comes from `adapter`.
fn evaluate(name: &str, adapter: Option<&str>, keys: &str) -> String {
    let adapter = adapter.map(|stage| format!(", adapter = \"{stage}\"")).unwrap_or_default();
    format!(
        "{name} = {{ kind = \"evaluate\", inputs = {{ tokens = \"tokens\", model = \"backbone\"{adapter} }}, model = \"tiny\", \
         task = \"films-2\", {keys}, export = \"out/{name}\" }}\n"
    )
}

struct Trial(Project);

impl Trial {
    fn new(adapter: &SavedAdapter) -> Self {
        let project = Project::new("");
        write_model(&project);
        project.write("films.tsv", &films());
        fs::create_dir(project.path("adapter")).unwrap();
        fs::write(project.path("adapter").join(CONFIG_FILE), &adapter.config).unwrap();
        fs::write(project.path("adapter").join(WEIGHTS_FILE), &adapter.weights).unwrap();
        Self(project)
    }

    /// Runs the pipeline with one stage more.
    fn run(&self, stage: &str) -> Ran {
        self.0.write("pipeline.toml", &format!("{CARD}{PIPELINE}{stage}"));
        self.0.emopipe(&["pin"]).ok();
        self.0.emopipe(&["run"])
    }

    fn fails(&self, name: &str, stage: &str, says: &str) {
        let ran = self.run(stage).fails(1);
        assert!(ran.stderr().contains(says), "{says}: {}", ran.stderr());
        assert!(!self.0.path(&format!("out/{name}")).exists());
    }
}

fn adapter(spec: &AdapterSpec) -> SavedAdapter {
    let model = Fixture::new("llama-tiny", "llama").model;
    spec.create(model.as_ref(), 1, None).unwrap().save("tiny").unwrap()
}

fn lora() -> AdapterSpec {
    AdapterSpec::from(LoraOptions {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        target_modules: vec!["q_proj".into(), "v_proj".into()],
        ..Default::default()
    })
}

#[test]
fn an_adapter_must_be_what_its_method_says() {
    let trial = Trial::new(&adapter(&lora()));
    trial.run(&evaluate("right", Some("fetched"), "method = \"lora\"")).ok();
    assert!(trial.0.path("out/right/metrics.json").exists());
    for (name, keys, says) in [
        ("rank", "method = \"other\"", "says `rank = 8`, but the adapter is one with 4"),
        ("kind", "method = \"prefix\"", "says `kind = \"ptuning2\"`, but the adapter is of the kind `lora`"),
        (
            "head",
            "method = \"head\", answer = \"head\"",
            "says a classification head, but the adapter is one with no classification head",
        ),
    ] {
        trial.fails(name, &evaluate(name, Some("fetched"), keys), says);
    }
}

#[test]
fn a_prefix_is_no_lora() {
    let spec = PrefixOptions { virtual_tokens: 3, init_std: Some(0.5), ..Default::default() };
    let trial = Trial::new(&adapter(&AdapterSpec::from(spec)));
    let says = "says `kind = \"lora\"`, but the adapter is of the kind `ptuning2` (`peft_type` PREFIX_TUNING)";
    trial.fails("kind", &evaluate("kind", Some("fetched"), "method = \"lora\""), says);
}

/// One number of one weight isn't a number.
#[test]
fn what_is_not_a_number_is_no_answer() {
    let trial = Trial::new(&adapter(&lora()));
    let path = trial.0.path("model/model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let odd = tensors.get_mut("model.layers.2.mlp.down_proj.weight").unwrap();
    let mut numbers = odd.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    numbers[5] = f32::NAN;
    *odd = Tensor::from_vec(numbers, odd.shape(), &Device::Cpu).unwrap();
    fs::remove_file(&path).unwrap();
    candle_core::safetensors::save(&tensors, &path).unwrap();

    let train = "trained = { kind = \"train\", inputs = { tokens = \"tokens\", model = \"backbone\" }, model = \"tiny\", \
                 method = \"lora\", seed = 0 }\n";
    for (name, stage, says) in [
        ("ranked", evaluate("ranked", None, "method = \"none\""), "the model `tiny`: the example `"),
        (
            "written",
            evaluate("written", None, "method = \"none\", answer = \"generate\""),
            "has no answer: the logit of a token is NaN",
        ),
        (
            "adapted",
            evaluate("adapted", Some("fetched"), "method = \"lora\""),
            "the model `tiny` with the adapter `lora`: the example `",
        ),
        (
            "trained",
            train.to_owned(),
            "the model `tiny` with the adapter `lora`: the loss is not finite at step 1 with the examples ",
        ),
    ] {
        trial.fails(name, &stage, says);
    }
}
