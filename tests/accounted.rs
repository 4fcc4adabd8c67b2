//! Parts of a model's files that the model doesn't have: each is refused by its name, and what belongs there is read.

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use candle_core::{DType, Device, Tensor, quantized::gguf_file::Value as Meta};
use common::{
    Project,
    gguf::{self, Tensors},
    tiny,
};
use emopipe::models::{Backbone, Mode, TokenTree, adapters, load_decoder, load_encoder};
use serde_json::{Map, Value, json};

/// A model's files, made from a fixture's.
struct Model {
    folder: tempfile::TempDir,
    family: &'static str,
    config: Value,
    tensors: Tensors,
}

impl Model {
    fn new(family: &'static str, fixture: &str) -> Self {
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
        let config = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
        let tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), family, config, tensors }
    }

    fn llama() -> Self {
        Self::new("llama", "llama-tiny")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add(&mut self, name: &str, shape: &[usize]) -> &mut Self {
        let tensor = Tensor::full(0.5f32, shape, &Device::Cpu).unwrap();
        self.tensors.insert(name.to_owned(), tensor);
        self
    }

    fn write_config(&self) {
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
    }

    fn write(&self) -> &Self {
        self.write_config();
        self.save("model.safetensors", |_| true);
        self
    }

    fn save(&self, file: &str, which: impl Fn(&str) -> bool) {
        let some: Tensors =
            self.tensors.iter().filter(|(name, _)| which(name)).map(|(n, t)| (n.clone(), t.clone())).collect();
        candle_core::safetensors::save(&some, self.path(file)).unwrap();
    }

    /// In two files with an index, in which a test may change what it says of a tensor.
    fn write_shards(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        self.write_config();
        let is_first = |name: &str| name.contains(".layers.0.");
        self.save("model-00001-of-00002.safetensors", is_first);
        self.save("model-00002-of-00002.safetensors", |name| !is_first(name));
        let place = |name: &String| {
            (name.clone(), json!(format!("model-0000{}-of-00002.safetensors", if is_first(name) { 1 } else { 2 })))
        };
        let mut places: Map<_, _> = self.tensors.keys().map(place).collect();
        change(&mut places);
        fs::write(self.path("model.safetensors.index.json"), json!({ "weight_map": places }).to_string()).unwrap();
    }

    fn write_gguf(&self, more: &[(&str, Meta)], tensors: &[(&str, &[f32])]) {
        let mut metadata = gguf::metadata(&self.config);
        metadata.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let mut all = gguf::tensors(&self.config, &self.tensors);
        all.extend(
            tensors.iter().map(|(name, numbers)| ((*name).to_owned(), Tensor::new(*numbers, &Device::Cpu).unwrap())),
        );
        gguf::write(&self.path("m.gguf"), &metadata, &all);
    }

    fn load(&self) -> Result<Box<dyn Backbone>, emopipe::base::error::Error> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap());
        let files: BTreeMap<_, _> = entries.map(|e| (e.file_name().into_string().unwrap(), e.path())).collect();
        Ok(match self.family {
            "bert" => Box::new(load_encoder(self.family, &files, &Device::Cpu)?),
            _ => Box::new(load_decoder(self.family, &files, &Device::Cpu)?),
        })
    }

    /// Hidden states of a few tokens.
    fn states(&self) -> Vec<f32> {
        let model = self.load().unwrap();
        let mut tree = TokenTree::new();
        tree.push(None, &[5, 60, 7, 200, 11]);
        let hidden = model.forward(&tree, &adapters::Untrained, Mode::Eval).unwrap();
        hidden.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        let e = self.load().map(drop).unwrap_err();
        for part in parts {
            assert!(e.message.contains(part), "`{part}` isn't in: {e}");
        }
        assert!(e.help.is_some(), "no advice: {e}");
    }
}

#[test]
fn biases_are_there_where_the_configuration_says_so() {
    let mut model = Model::llama();
    let plain = model.write().states();
    for (key, layers) in [
        (
            "attention_bias",
            [("self_attn.q_proj", 64), ("self_attn.k_proj", 32), ("self_attn.v_proj", 32), ("self_attn.o_proj", 64)]
                .as_slice(),
        ),
        ("mlp_bias", &[("mlp.gate_proj", 112), ("mlp.up_proj", 112), ("mlp.down_proj", 64)]),
    ] {
        let mut model = Model::llama();
        for (i, (layer, width)) in (0..3).flat_map(|i| layers.iter().map(move |l| (i, l))) {
            model.add(&format!("model.layers.{i}.{layer}.bias"), &[*width]);
        }
        model.write().refused(&["model.safetensors", ".bias`", " more"]);
        model.config[key] = json!(true);
        assert_ne!(model.write().states(), plain);
        let missing = format!("model.layers.2.{}.bias", layers[0].0);
        model.tensors.remove(&missing);
        model.write().refused(&[&missing]);
    }
    model.config["attention_bias"] = json!(true);
    model.write().refused(&["model.layers.0.self_attn.q_proj.bias"]);
}

#[test]
fn a_tied_head_is_the_embedding() {
    let mut model = Model::llama();
    model.config["tie_word_embeddings"] = json!(true);
    model.write().refused(&["`lm_head.weight`", "`model.embed_tokens.weight`", "`tie_word_embeddings`"]);
    let embedding = model.tensors["model.embed_tokens.weight"].clone();
    model.tensors.insert("lm_head.weight".to_owned(), embedding);
    let doubled = model.write().states();
    model.tensors.remove("lm_head.weight");
    assert_eq!(model.write().states(), doubled);
    model.config["tie_word_embeddings"] = json!(false);
    model.write().refused(&["no tensor `lm_head.weight`"]);
}

#[test]
fn tensors_that_the_model_does_not_have_are_refused() {
    for name in [
        "model.layers.3.mlp.up_proj.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.mlp.experts.0.w1.weight",
        "model.layers.0.self_attn.q_proj.weight_scale",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "score.weight",
    ] {
        Model::llama().add(name, &[2]).write().refused(&["model.safetensors", name, "config.json"]);
    }
    let plain = Model::llama().write().states();
    let mut model = Model::llama();
    model.add("model.layers.0.self_attn.rotary_emb.inv_freq", &[8]).add("model.rotary_emb.inv_freq", &[8]);
    assert_eq!(model.write().states(), plain);
}

#[test]
fn heads_of_encoders_are_left_where_they_are() {
    let bert = || Model::new("bert", "bert-tiny");
    let plain = bert().write().states();
    let mut model = bert();
    for name in
        ["cls.predictions.bias", "cls.seq_relationship.weight", "qa_outputs.bias", "bert.embeddings.position_ids"]
    {
        model.add(name, &[2]);
    }
    assert_eq!(model.write().states(), plain);
    for name in [
        "bert.encoder.layer.0.attention.self.distance_embedding.weight",
        "bert.encoder.layer.3.output.dense.bias",
        "embeddings.word_embeddings.weight",
        "linear.weight",
    ] {
        bert().add(name, &[2]).write().refused(&[name]);
    }
}

#[test]
fn one_file_or_one_set_of_files_is_the_model() {
    let model = Model::llama();
    model.write();
    for beside in ["consolidated.safetensors", "zzz.safetensors", "adapter_model.safetensors"] {
        model.save(beside, |_| true);
        model.refused(&[beside]);
        fs::remove_file(model.path(beside)).unwrap();
    }
    model.load().unwrap();
    model.write_gguf(&[], &[]);
    model.refused(&["`m.gguf`", "`model.safetensors`"]);
}

#[test]
fn shards_and_their_index_say_the_same() {
    let whole = Model::llama();
    let numbers = whole.write().states();
    let sharded = Model::llama();
    sharded.write_shards(|_| ());
    assert_eq!(sharded.states(), numbers);
    fs::remove_file(sharded.path("model.safetensors.index.json")).unwrap();
    assert_eq!(sharded.states(), numbers);

    sharded.write_shards(|map| _ = map.insert("model.layers.9.x".into(), json!("model-00001-of-00002.safetensors")));
    sharded.refused(&["model.safetensors.index.json", "`model.layers.9.x`"]);
    sharded.write_shards(|map| _ = map.insert("model.norm.weight".into(), json!(7)));
    sharded.refused(&["model.safetensors.index.json", "model.norm.weight", "no file's name"]);
    let mut more = Model::llama();
    more.add("model.layers.0.new.weight", &[2]).write_shards(|map| _ = map.remove("model.layers.0.new.weight"));
    more.refused(&["model-00001-of-00002.safetensors", "model.layers.0.new.weight"]);

    // A tensor in both, whichever the index names.
    sharded.write_shards(|_| ());
    sharded.save("model-00001-of-00002.safetensors", |name| name.contains(".layers.0.") || name == "model.norm.weight");
    sharded.refused(&["`model.norm.weight`", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    // A file that the index doesn't know.
    sharded.write_shards(|_| ());
    sharded.save("model.safetensors", |_| true);
    sharded.refused(&["model.safetensors.index.json doesn't know of `model.safetensors`"]);
}

#[test]
fn json_beside_weights_is_bounded_and_says_one_thing() {
    let model = Model::llama();
    model.write();
    let config = model.config.to_string();
    let twice = config.replacen('{', "{\"rms_norm_eps\": 1e-5,", 1);
    let large = format!("{}, \"x\": \"{}\"}}", &config[..config.len() - 1], "x".repeat(5 << 20));
    let deep = format!("{}, \"x\": {}", &config[..config.len() - 1], "[".repeat(200_000));
    for (text, part) in
        [(twice, "`rms_norm_eps` is there twice"), (large, "larger than"), (deep, "recursion"), ("[]".into(), "object")]
    {
        fs::write(model.path("config.json"), text).unwrap();
        model.refused(&["config.json", part]);
    }
    model.write_config();

    // The header of the weights.
    let bytes = fs::read(model.path("model.safetensors")).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + len].to_vec()).unwrap();
    let with_header =
        |header: String| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + len..]].concat();
    let norm = serde_json::from_str::<Value>(&header).unwrap()["model.norm.weight"].to_string();
    for (header, part) in [
        (header.replacen('{', &format!("{{\"model.norm.weight\": {norm},"), 1), "`model.norm.weight` is there twice"),
        (format!("{{\"a\": {}", "[".repeat(200_000)), "not a whole safetensors file"),
        ("[]".to_owned(), "not a whole safetensors file"),
    ] {
        fs::write(model.path("model.safetensors"), with_header(header)).unwrap();
        model.refused(&["model.safetensors", part]);
    }
    let huge = [&(1u64 << 40).to_le_bytes(), &bytes[8..]].concat();
    fs::write(model.path("model.safetensors"), huge).unwrap();
    model.refused(&["model.safetensors", "a header of"]);
}

#[test]
fn a_gguf_is_the_same_model_and_nothing_else() {
    let mut model = Model::llama();
    let numbers = model.write().states();
    fs::remove_file(model.path("model.safetensors")).unwrap();
    // `config.json` beside it says the same.
    model.write_gguf(&[], &[]);
    assert_eq!(model.states(), numbers);
    model.config["rope_scaling"] = json!({ "rope_type": "llama3", "factor": 8.0 });
    model.write_config();
    model.refused(&["config.json", "`rope_type` is `llama3`"]);
    model.config["rope_scaling"] = Value::Null;
    model.config["num_hidden_layers"] = json!(2);
    model.write_config();
    model.refused(&["`num_hidden_layers` is 3 in m.gguf, and 2 in config.json"]);
    fs::remove_file(model.path("config.json")).unwrap();
    model.config["num_hidden_layers"] = json!(3);

    model.write_gguf(&[("tokenizer.ggml.model", Meta::String("gpt2".into()))], &[]);
    assert_eq!(model.states(), numbers);
    model.write_gguf(&[], &[("rope_freqs.weight", &[1.0, 1.0, 8.0, 8.0])]);
    model.refused(&["m.gguf", "`rope_freqs.weight`"]);
    model.write_gguf(&[], &[("blk.0.attn_q.scale", &[2.0])]);
    model.refused(&["m.gguf", "`blk.0.attn_q.scale`"]);
    model.write_gguf(&[("llama.rope.scale_linear", Meta::F32(8.0))], &[]);
    model.refused(&["m.gguf", "`llama.rope.scale_linear`"]);
    model.write_gguf(&[("general.alignment", Meta::U32(0))], &[]);
    model.refused(&["m.gguf", "`general.alignment`"]);
    model.write_gguf(&[("llama.block_count", Meta::U32(3))], &[]);
    model.refused(&["m.gguf", "`llama.block_count` is there twice"]);
    model.write_gguf(&[], &[("output_norm.weight", &[0.0; 64])]);
    model.refused(&["m.gguf", "`output_norm.weight` is there twice"]);

    // Biases are where the tensors are.
    for (layer, width) in (0..3).flat_map(|i| ["q", "k", "v", "o"].map(|l| (format!("{i}.self_attn.{l}_proj"), l))) {
        let width = if ["k", "v"].contains(&width) { 32 } else { 64 };
        model.add(&format!("model.layers.{layer}.bias"), &[width]);
    }
    model.config["attention_bias"] = json!(true);
    let (config, tensors) = (model.config.clone(), model.tensors.clone());
    let safe = Model { folder: tempfile::tempdir().unwrap(), family: "llama", config, tensors };
    let biased = safe.write().states();
    model.write_gguf(&[], &[]);
    assert_eq!(model.states(), biased);
    assert_ne!(biased, numbers);
    // A number that is too large for the format that it is to be kept in.
    let large = Tensor::full(1e6f32, (64, 64), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    model.tensors.insert("model.layers.0.self_attn.o_proj.weight".into(), large);
    model.write_gguf(&[], &[]);
    let files = [("m.gguf".to_owned(), model.path("m.gguf"))].into();
    let e = emopipe::models::load_decoder_as("llama", &files, emopipe::models::Dtype::F16, &Device::Cpu)
        .map(drop)
        .unwrap_err();
    assert!(e.message.contains("m.gguf") && e.message.contains("too large for f16"), "{e}");
}

const PIPELINE: &str = r#"
[pipeline]
name = "accounted"

[model.tiny]
family = "llama"
[model.tiny.source]
SOURCE
"tokenizer.json" = { url = "file:model/tokenizer.json" }
"tokenizer_config.json" = { url = "file:model/tokenizer_config.json" }

[task.films-2]
title = "Films-2"
dataset = "films"
scheme = "2"
instruction = "{labels}? {sentence}"
limit = { train = 4, dev = 0, test = 4 }

[method.zero-shot]
title = "zero-shot"
adapter = { kind = "none" }

[stages]
raw      = { kind = "download", from = "dataset.films" }
backbone = { kind = "download", from = "model.tiny" }
examples = { kind = "prepare", inputs = { raw = "raw" }, task = "films-2" }
tokens   = { kind = "tokenize", inputs = { examples = "examples", model = "backbone" }, task = "films-2", model = "tiny" }
zero     = { kind = "evaluate", inputs = { tokens = "tokens", model = "backbone" }, model = "tiny", task = "films-2", method = "zero-shot", export = "out/zero" }
"#;

fn project(files: &[&str], model: &Model) -> Project {
    let source: String = files.iter().map(|name| format!("\"{name}\" = {{ url = \"file:model/{name}\" }}\n")).collect();
    let project = Project::new(&[tiny::CARD, &PIPELINE.replace("SOURCE", &source)].concat());
    tiny::write_model(&project);
    project.write("films.tsv", &tiny::films());
    for file in fs::read_dir(model.folder.path()).unwrap().map(|e| e.unwrap()) {
        fs::copy(file.path(), project.path("model").join(file.file_name())).unwrap();
    }
    project
}

/// The whole program: nothing is reported of a model that wasn't understood.
#[test]
fn a_run_with_such_a_model_fails_and_writes_no_figure() {
    let usual = ["config.json", "model.safetensors"].as_slice();
    let fine = project(usual, &Model::llama());
    fine.emopipe(&["pin"]).ok();
    fine.emopipe(&["run"]).ok();
    assert!(fine.path("out/zero").exists());

    let mut biased = Model::llama();
    biased.add("model.layers.0.self_attn.q_proj.bias", &[64]).write();
    let mut tied = Model::llama();
    tied.config["tie_word_embeddings"] = json!(true);
    tied.write();
    let doubled = Model::llama();
    doubled.write().save("consolidated.safetensors", |_| true);
    let [scaled, unaligned] = [Model::llama(), Model::llama()];
    scaled.write_gguf(&[], &[("rope_freqs.weight", &[8.0; 8])]);
    unaligned.write_gguf(&[("general.alignment", Meta::U32(0))], &[]);
    let three = ["config.json", "consolidated.safetensors", "model.safetensors"].as_slice();
    for (files, model, name) in [
        (usual, biased, "q_proj.bias"),
        (usual, tied, "lm_head.weight"),
        (three, doubled, "consolidated.safetensors"),
        (&["m.gguf"], scaled, "rope_freqs.weight"),
        (&["m.gguf"], unaligned, "general.alignment"),
    ] {
        let project = project(files, &model);
        project.emopipe(&["pin"]).ok();
        let messages = project.emopipe(&["run"]).fails(1).stderr();
        assert!(messages.contains(name) && !messages.contains("panicked"), "{messages}");
        assert!(!project.path("out/zero").exists());
    }
}

/// What the pipeline file states is checked before anything is fetched.
#[test]
fn a_table_in_the_pipeline_is_checked_when_planning() {
    let table = |key: Option<(&str, Value)>| {
        let mut config = Model::llama().config;
        config["pad_token_id"] = json!(0);
        if let Some((key, value)) = key {
            config[key] = value;
        }
        toml::to_string(&json!({ "model": { "tiny": { "config": config } } })).unwrap()
    };
    let project = project(&["config.json", "model.safetensors"], &Model::llama());
    project.write("pipeline.toml", &(project.read("pipeline.toml") + &table(None)));
    project.emopipe(&["pin"]).ok();
    project.emopipe(&["plan"]).ok();
    let pinned = project.read("pipeline.toml");
    for (key, value, name) in [
        ("logit_scale", json!(0.0625), "`logit_scale` (0.0625) isn't understood"),
        ("rms_norm_eps", json!(-1.0), "`rms_norm_eps` is -1.0, not a number from"),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
    ] {
        project.write("pipeline.toml", &pinned.replace(&table(None), &table(Some((key, value)))));
        let messages = project.emopipe(&["plan"]).fails(2).stderr();
        let words = messages.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(name) && words.contains("`config` table"), "{messages}");
    }
}
