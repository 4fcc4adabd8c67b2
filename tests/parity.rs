//! Our numbers against those of the reference implementations, on tiny models with random weights.
//!
//! Every model folder of `EMOPIPE_FIXTURES` (default `tests/fixtures`) is held to the numbers in it, from every weight format
//! that it has, on the plain padded path and on packed rows; encoders in `parity_encoder.rs`. Sizes, conditions and
//! hyper-parameters are the fixture's. Run with `--nocapture` to see the largest error of every quantity. What needs no
//! reference is tested on our own fixtures alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::{D, DType, Device, Result as Candle, Tensor, Var};
use emopipe::{
    models::{
        Adapter, AdapterSpec, Backbone, Decoder, Dtype, KvCache, Mode, TokenTree,
        adapters::{self, CONFIG_FILE, LoraOptions, PrefixInit, PrefixOptions, PromptOptions, WEIGHTS_FILE},
        greedy, load_decoder, load_decoder_as, most_likely, reference,
    },
    train::optimizer::{AdamW, AdamWParams, clip_grad_norm, collect},
};
use serde_json::{Value, json};

/// `model_type`, and the family that reads it.
const FAMILIES: &[(&str, &str)] = &[("llama", "llama"), ("qwen2", "llama"), ("chatglm", "chatglm")];

/// Of models that `parity_encoder.rs` tests.
const ENCODERS: &[&str] = &["bert"];

/// Name, and how its files' names end.
const FORMATS: &[(&str, &[&str])] =
    &[("safetensors", &[".safetensors", ".safetensors.index.json"]), ("pytorch", &[".bin", ".bin.index.json"])];

/// What a fixture expects; the second was computed apart (tests/python/chatglm_prefix.py), and so were variants of LoRA and
/// prompt tuning (tests/python/peft_conditions.py).
const FIGURES: [&str; 4] = ["expected.safetensors", "prefix.safetensors", "variants.safetensors", "prompt.safetensors"];

/// Allowed error: the largest difference, relative to the largest number of the expected tensor.
fn tolerance() -> f64 {
    match dtype() {
        Dtype::F32 => 1e-4,
        // Numbers of 8 bits, in each of a few layers.
        _ => 5e-2,
    }
}

/// What computes: the CPU, or with `EMOPIPE_DEVICE=cuda` a GPU.
fn device() -> Device {
    let device = match std::env::var("EMOPIPE_DEVICE").as_deref() {
        Ok("cuda") => emopipe::base::machine::Device::Cuda,
        _ => emopipe::base::machine::Device::Cpu,
    };
    emopipe::models::device::open(device).unwrap()
}

/// What matrices are kept in: f32, or what `EMOPIPE_DTYPE` says.
fn dtype() -> Dtype {
    std::env::var("EMOPIPE_DTYPE").map_or(Dtype::F32, |name| serde_json::from_value(Value::String(name)).unwrap())
}

/// As [`tolerance`], between two paths of our own.
const EXACT: f64 = 1e-5;

struct Fixture {
    /// Folder and weight format.
    name: String,
    folder: PathBuf,
    family: &'static str,
    model: Decoder,
    expected: BTreeMap<String, Tensor>,
    meta: Value,
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// By name; nothing where there is no such file.
fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    if !path.exists() {
        return BTreeMap::new();
    }
    candle_core::safetensors::load(path, &device()).unwrap().into_iter().collect()
}

/// The files of `folder` that a model in one weight format is published with; none where it isn't.
fn files(folder: &Path, ends: &[&str]) -> Option<BTreeMap<String, PathBuf>> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let weights = names.filter(|n| !FIGURES.contains(&n.as_str()) && ends.iter().any(|end| n.ends_with(end)));
    let mut files: BTreeMap<_, _> = weights.map(|n| (n.clone(), folder.join(n))).collect();
    if files.is_empty() {
        return None;
    }
    files.insert("config.json".to_owned(), folder.join("config.json"));
    Some(files)
}

fn own_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Every decoder in a folder, once per weight format.
fn read_fixtures(root: &Path) -> Vec<Fixture> {
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("config.json").exists());
    folders.sort();
    assert!(!folders.is_empty(), "no model in {}", root.display());
    let mut found = Vec::new();
    for folder in folders {
        let kind = read_json(&folder.join("config.json"))["model_type"].as_str().unwrap_or_default().to_owned();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if ENCODERS.contains(&kind.as_str()) {
            continue;
        }
        let family = FAMILIES.iter().find(|(k, _)| *k == kind).map(|(_, family)| *family);
        let family = family.unwrap_or_else(|| panic!("{name}: no family reads model_type `{kind}`"));
        let [mut expected, prefix, variants, prompt] = FIGURES.map(|file| read_tensors(&folder.join(file)));
        expected.extend(variants.into_iter().chain(prompt));
        expected.extend(prefix.into_iter().map(|(name, tensor)| (format!("prefix.{name}"), tensor)));
        let meta = read_json(&folder.join("meta.json"));
        for (format, ends) in FORMATS {
            let Some(files) = files(&folder, ends) else { continue };
            found.push(Fixture {
                name: format!("{name}, {format}"),
                folder: folder.clone(),
                family,
                model: load_decoder_as(family, &files, dtype(), &device()).unwrap(),
                expected: expected.clone(),
                meta: meta.clone(),
            });
        }
    }
    found
}

/// Those to agree with.
fn fixtures() -> Vec<Fixture> {
    let root = std::env::var_os("EMOPIPE_FIXTURES").map_or_else(own_fixtures, PathBuf::from);
    let found = read_fixtures(&root);
    if found.is_empty() {
        eprintln!("SKIPPED: no decoder in {}", root.display());
    }
    found
}

/// Once whatever its weight formats.
fn once(mut fixtures: Vec<Fixture>) -> Vec<Fixture> {
    fixtures.dedup_by(|a, b| a.folder == b.folder);
    fixtures
}

/// Our own models.
fn models() -> Vec<Fixture> {
    once(read_fixtures(&own_fixtures()))
}

fn error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (numbers(got), numbers(want));
    let size = want.iter().fold(0f32, |a, b| a.max(b.abs()));
    let off = got
        .iter()
        .zip(&want)
        .fold(0f32, |a, (x, y)| if (x - y).is_nan() { f32::INFINITY } else { a.max((x - y).abs()) });
    if off == 0.0 { 0.0 } else { f64::from(off / size) }
}

/// The difference's Euclidean norm, relative to that of the expected tensor.
fn error_of_norms(got: &Tensor, want: &Tensor) -> f64 {
    let square = |t: &Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
    let error = (square(&(got - want).unwrap()) / square(want)).sqrt();
    if error.is_nan() { f64::INFINITY } else { error }
}

/// Largest errors by quantity.
#[derive(Default)]
struct Errors {
    checked: BTreeMap<String, f64>,
    /// For the reader.
    shown: BTreeMap<String, f64>,
}

impl Errors {
    fn note(&mut self, quantity: &str, got: &Tensor, want: &Tensor) {
        let worst = self.checked.entry(quantity.to_owned()).or_default();
        *worst = worst.max(error(got, want));
    }

    /// Parameters after some steps of AdamW, which divides each gradient by its own size: a gradient that is rounding noise
    /// moves its parameter as far as any other, in a direction that no two implementations share (two in PyTorch itself,
    /// `tests/python/chatglm_prefix.py` and the publisher's, differ by 5e-4 in the worst element). So the norm of all is
    /// checked, and the worst element shown.
    fn note_trained(&mut self, quantity: &str, got: &Tensor, want: &Tensor) {
        let known = if dtype() == Dtype::F32 { &mut self.checked } else { &mut self.shown };
        let worst = known.entry(quantity.to_owned()).or_default();
        *worst = worst.max(error_of_norms(got, want));
        let worst = self.shown.entry(format!("{quantity}, worst")).or_default();
        *worst = worst.max(error(got, want));
    }

    fn check(&self, title: &str) {
        self.check_within(title, tolerance());
    }

    fn check_within(&self, title: &str, tolerance: f64) {
        for (quantity, error) in self.checked.iter().chain(&self.shown) {
            println!("{title:<54} {quantity:<26} {error:.1e}");
        }
        for (quantity, error) in &self.checked {
            assert!(*error <= tolerance, "{title}: {quantity} is off by {error:.2e}");
        }
    }
}

/// One sample without its padding.
struct Sample {
    ids: Vec<u32>,
    /// Place of a token, and the token that is to be predicted there.
    targets: Vec<(usize, u32)>,
    /// First column of the padded row.
    start: usize,
}

impl Fixture {
    fn samples(&self) -> Vec<Sample> {
        let rows = |name: &str| self.expected[name].to_vec2::<i64>().unwrap();
        let (ids, mask, labels) = (rows("input_ids"), rows("attention_mask"), rows("labels"));
        (0..ids.len())
            .map(|b| {
                let start = mask[b].iter().position(|m| *m == 1).unwrap();
                let targets = (start + 1..ids[b].len())
                    .filter(|t| labels[b][*t] >= 0)
                    .map(|t| (t - 1 - start, labels[b][t] as u32))
                    .collect();
                Sample { ids: ids[b][start..].iter().map(|i| *i as u32).collect(), targets, start }
            })
            .collect()
    }

    /// The conditions that the reference trained: `lora`, `ptuning`, ...
    fn conditions(&self) -> Vec<&str> {
        self.expected.keys().filter_map(|k| k.strip_suffix(".adamw_losses")).collect()
    }

    /// The adapter of a condition before training.
    fn adapter(&self, condition: &str) -> Box<dyn Adapter> {
        let tensors = self.named(&format!("{condition}.init."));
        if tensors.keys().any(|name| name.contains("lora_A")) {
            let lora = &self.meta["lora"];
            let config = json!({
                "peft_type": "LORA", "r": lora["rank"], "lora_alpha": lora["alpha"], "target_modules": lora["targets"],
                "use_rslora": condition == "rslora", "use_dora": condition == "dora",
            });
            return adapters::load(config.to_string().as_bytes(), &serialized(&tensors), &self.model).unwrap();
        }
        if condition == "prompt" {
            let rows = tensors["prompt_embeddings"].dim(0).unwrap();
            let config = json!({ "peft_type": "PROMPT_TUNING", "num_virtual_tokens": rows });
            return adapters::load(config.to_string().as_bytes(), &serialized(&tensors), &self.model).unwrap();
        }
        let projected = tensors.get("prefix_encoder.embedding.weight");
        let spec = PrefixOptions {
            virtual_tokens: projected.unwrap_or_else(|| &tensors["prompt_embeddings"]).dim(0).unwrap(),
            projection: tensors.get("prefix_encoder.trans.0.weight").map(|w| w.dim(0).unwrap()),
            ..PrefixOptions::default()
        };
        let adapter = AdapterSpec::from(spec).create(&self.model, 0, None).unwrap();
        for (name, var) in adapter.parameters() {
            var.set(&tensors[&name]).unwrap();
        }
        adapter
    }

    /// The expected tensors under a prefix, by our names.
    fn named(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let direct = !self.expected.contains_key(&format!("{prefix}transformer.prefix_encoder.trans.0.weight"));
        let ours = |name: &str| match name.strip_prefix("transformer.") {
            Some("prefix_encoder.embedding.weight") if direct => "prompt_embeddings".to_owned(),
            Some(name) if name.starts_with("prefix_encoder.") => name.to_owned(),
            _ => name.replace(".default.", "."),
        };
        self.expected.iter().filter_map(|(k, v)| Some((ours(k.strip_prefix(prefix)?), v.clone()))).collect()
    }
}

fn serialized(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let tensors: std::collections::HashMap<String, Tensor> = tensors.clone().into_iter().collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    std::fs::read(path).unwrap()
}

/// A way to compute the batch's logits (`[batch, seq, vocab]`, zero at padding) and its loss.
type Compute = fn(&Fixture, &dyn Adapter) -> (Tensor, Tensor);

fn padded(fixture: &Fixture, adapter: &dyn Adapter) -> (Tensor, Tensor) {
    let mask = &fixture.expected["attention_mask"];
    let batch = reference::Batch {
        ids: &fixture.expected["input_ids"].to_dtype(DType::U32).unwrap(),
        mask,
        positions: &fixture.expected["position_ids"],
    };
    let logits = reference::logits(&fixture.model, adapter, &batch).unwrap();
    let compute = || -> Candle<(Tensor, Tensor)> {
        let shown = logits.broadcast_mul(&mask.to_dtype(DType::F32)?.unsqueeze(2)?)?.detach();
        let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
        let log_p = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
        let mut losses = Vec::new();
        for (b, sample) in fixture.samples().iter().enumerate() {
            for (place, target) in &sample.targets {
                losses.push(log_p.get(b)?.get(place + sample.start)?.get(*target as usize)?.neg()?);
            }
        }
        Ok((shown, Tensor::stack(&losses, 0)?.mean_all()?))
    };
    compute().unwrap()
}

/// Packs the samples; `cut` says how many of a sample's tokens form a segment that `copies` others continue.
fn packed_with(fixture: &Fixture, adapter: &dyn Adapter, cut: usize, copies: usize) -> (Tensor, Tensor) {
    let samples = fixture.samples();
    let mut tree = TokenTree::new();
    let (mut rows, mut targets, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for sample in &samples {
        let cut = cut.min(sample.ids.len() - 1);
        let (shared, own) = sample.ids.split_at(cut);
        let parent = (cut > 0).then(|| tree.push(None, shared));
        let begin = parent.map_or(tree.len(), |p| tree.segments()[p].start);
        for copy in 0..copies {
            let segment = tree.push(parent, own);
            let start = tree.segments()[segment].start;
            let row = |i: usize| if i < cut { begin + i } else { start + i - cut } as u32;
            rows.extend(sample.targets.iter().map(|(i, _)| row(*i)));
            targets.extend(sample.targets.iter().map(|(_, t)| *t));
            if copy + 1 == copies {
                places.push((0..sample.ids.len()).map(row).collect::<Vec<_>>());
            }
        }
    }
    let hidden = fixture.model.forward(&tree, adapter, Mode::Eval).unwrap();
    let loss = fixture.model.nll(&hidden, &rows, &targets).unwrap().mean_all().unwrap();
    let compute = || -> Candle<Tensor> {
        let padded = samples.iter().zip(&places).map(|(sample, rows)| {
            let logits = fixture.model.logits(&hidden, rows).unwrap();
            logits.pad_with_zeros(0, sample.start, 0)
        });
        Tensor::stack(&padded.collect::<Candle<Vec<_>>>()?, 0)
    };
    (compute().unwrap(), loss)
}

fn packed(fixture: &Fixture, adapter: &dyn Adapter) -> (Tensor, Tensor) {
    packed_with(fixture, adapter, 0, 1)
}

fn shared(fixture: &Fixture, adapter: &dyn Adapter) -> (Tensor, Tensor) {
    packed_with(fixture, adapter, 5, 3)
}

const PATHS: &[(&str, Compute)] =
    &[("plain, padded", padded), ("packed", packed), ("packed, shared beginning", shared)];

#[test]
fn agrees_with_the_reference_implementation() {
    for fixture in fixtures() {
        for (path, compute) in PATHS {
            // The plain path is for f32.
            if dtype() != Dtype::F32 && *path == PATHS[0].0 {
                continue;
            }
            let mut errors = Errors::default();
            let none = adapters::Untrained;
            let (logits, loss) = compute(&fixture, &none);
            errors.note("base.logits", &logits, &fixture.expected["base.logits"]);
            errors.note("base.loss", &loss.reshape(1).unwrap(), &fixture.expected["base.loss"]);

            for condition in fixture.conditions() {
                train(&fixture, condition, *compute, &mut errors);
            }
            errors.check(&format!("{} ({path})", fixture.name));
        }
    }
}

/// A condition's logits, loss, gradients, and a few steps of AdamW.
fn train(fixture: &Fixture, condition: &str, compute: Compute, errors: &mut Errors) {
    let adapter = fixture.adapter(condition);
    let parameters = adapter.parameters();
    let meta = &fixture.meta["adamw"];
    let usual = AdamWParams::default();
    let number = |value: &Value, usual: f64| value.as_f64().unwrap_or(usual);
    let settings = AdamWParams {
        beta1: number(&meta["betas"][0], usual.beta1),
        beta2: number(&meta["betas"][1], usual.beta2),
        eps: number(&meta["eps"], usual.eps),
        weight_decay: meta["weight_decay"].as_f64().unwrap(),
    };
    let mut adamw = AdamW::new(parameters.clone(), settings).unwrap();
    let grads = fixture.named(&format!("{condition}.grad."));
    let after = fixture.named(&format!("{condition}.after."));
    let expected = |quantity: &str| &fixture.expected[&format!("{condition}.{quantity}")];
    assert_eq!(parameters.len(), grads.len(), "{condition}");
    let mut losses = Vec::new();
    for step in 0..meta["steps"].as_u64().unwrap() {
        let (logits, loss) = compute(fixture, adapter.as_ref());
        losses.push(loss.detach().reshape(1).unwrap());
        let mut gradients = collect(&parameters, &loss.backward().unwrap()).unwrap();
        if step == 0 {
            errors.note(&format!("{condition}.logits"), &logits, expected("logits"));
            errors.note(&format!("{condition}.loss"), &losses[0], expected("loss"));
            for ((name, _), gradient) in parameters.iter().zip(&gradients) {
                errors.note(&format!("{condition}.grad"), gradient, &grads[name]);
            }
        }
        clip_grad_norm(&mut gradients, meta["clip_grad_norm"].as_f64().unwrap()).unwrap();
        adamw.step(&gradients, meta["lr"].as_f64().unwrap()).unwrap();
    }
    errors.note(&format!("{condition}.losses"), &Tensor::cat(&losses, 0).unwrap(), expected("adamw_losses"));
    for (name, var) in &parameters {
        errors.note_trained(&format!("{condition}.after"), var, &after[name]);
    }
}

#[test]
fn loads_and_writes_adapters_as_peft_does() {
    for fixture in once(fixtures()) {
        let folder = fixture.folder.join("peft-lora");
        if !folder.exists() {
            continue;
        }
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let adapter = adapters::load(&read(CONFIG_FILE), &read(WEIGHTS_FILE), &fixture.model).unwrap();
        let mut errors = Errors::default();
        errors.note("peft.logits", &packed(&fixture, adapter.as_ref()).0, &fixture.expected["lora.logits"]);
        errors.check(&fixture.name);

        let saved = adapter.save("some/model").unwrap();
        let theirs = candle_core::safetensors::load(folder.join(WEIGHTS_FILE), &Device::Cpu).unwrap();
        let ours = candle_core::safetensors::load_buffer(&saved.weights, &Device::Cpu).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (name, tensor) in theirs {
            assert_eq!(error(&ours[&name], &tensor), 0.0, "{name}");
        }
        let config: Value = serde_json::from_slice(&saved.config).unwrap();
        let peft: Value = serde_json::from_slice(&read(CONFIG_FILE)).unwrap();
        for key in ["peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "target_modules", "bias"] {
            assert_eq!(config[key], peft[key], "{key}");
        }
        let again = adapters::load(&saved.config, &saved.weights, &fixture.model).unwrap();
        assert_eq!(again.save("some/model").unwrap(), saved, "the bytes are the same every time");
    }
}

/// Where there is no adapter of PEFT's own: names and configuration as it would give them, and the way back.
#[test]
fn chatglm_adapters_have_the_names_that_peft_gives_them() {
    for fixture in once(fixtures()).iter().filter(|f| f.family == "chatglm") {
        for condition in fixture.conditions() {
            let adapter = fixture.adapter(condition);
            let saved = adapter.save("some/model").unwrap();
            let config: Value = serde_json::from_slice(&saved.config).unwrap();
            let stored = candle_core::safetensors::load_buffer(&saved.weights, &Device::Cpu).unwrap();
            let names: BTreeSet<_> = stored.into_keys().collect();
            let expected = fixture.named(&format!("{condition}.init."));
            assert_eq!(config["task_type"], json!("CAUSAL_LM"));
            if expected.keys().any(|name| name.contains("lora_A")) {
                assert_eq!(names, expected.into_keys().collect());
                assert_eq!(config["peft_type"], json!("LORA"));
                assert_eq!(config["r"], fixture.meta["lora"]["rank"]);
                assert_eq!(config["target_modules"], fixture.meta["lora"]["targets"]);
            } else {
                assert_eq!(names, BTreeSet::from(["prompt_embeddings".to_owned()]));
                let dims = fixture.model.dims();
                assert_eq!(config["peft_type"], json!("PREFIX_TUNING"));
                assert_eq!(config["num_attention_heads"], json!(dims.kv_heads));
                assert_eq!(config["token_dim"], json!(dims.kv_heads * dims.head_dim));
            }
            let again = adapters::load(&saved.config, &saved.weights, &fixture.model).unwrap();
            let logits = packed(fixture, again.as_ref()).0;
            assert!(error(&logits, &fixture.expected[&format!("{condition}.logits")]) < tolerance(), "{condition}");
        }
    }
}

fn prefix(projection: Option<usize>) -> AdapterSpec {
    AdapterSpec::from(PrefixOptions { virtual_tokens: 6, projection, init_std: Some(0.3), ..Default::default() })
}

/// The last names of all linear layers.
fn linears(fixture: &Fixture) -> Vec<String> {
    let modules = fixture.model.modules();
    let names: BTreeSet<_> = modules.iter().map(|m| m.path.rsplit('.').next().unwrap().to_owned()).collect();
    names.into_iter().collect()
}

fn every_adapter(fixture: &Fixture) -> Vec<(&'static str, AdapterSpec)> {
    let all = LoraOptions { rank: 4, alpha: 8.0, dropout: 0.0, target_modules: linears(fixture), ..Default::default() };
    let dora = LoraOptions { use_dora: true, use_rslora: true, ..all.clone() };
    vec![
        ("lora everywhere", AdapterSpec::from(all)),
        ("dora everywhere", AdapterSpec::from(dora)),
        ("prompt", PromptOptions { virtual_tokens: 6, ..Default::default() }.into()),
        ("prefix", prefix(None)),
        ("projected prefix", prefix(Some(24))),
    ]
}

/// LoRA's `B` starts at zero, which would hide `A`'s gradient.
fn stir(adapter: &dyn Adapter) {
    for (i, (_, var)) in adapter.parameters().into_iter().enumerate() {
        let numbers: Vec<f32> = (0..var.elem_count()).map(|j| ((i * 31 + j * 17) % 23) as f32 / 115.0 - 0.1).collect();
        let noise = Tensor::from_vec(numbers, var.shape(), var.device()).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
    }
}

fn gradients(fixture: &Fixture, adapter: &dyn Adapter, compute: Compute) -> (f32, Vec<Tensor>) {
    let (_, loss) = compute(fixture, adapter);
    let store = loss.backward().unwrap();
    (loss.to_scalar().unwrap(), collect(&adapter.parameters(), &store).unwrap())
}

/// The reference has no numbers for these: our plain path is the judge.
#[test]
fn fast_and_plain_paths_agree_for_every_adapter() {
    for fixture in models() {
        for (title, spec) in every_adapter(&fixture) {
            let adapter = spec.create(&fixture.model, 5, None).unwrap();
            stir(adapter.as_ref());
            let (plain_loss, plain) = gradients(&fixture, adapter.as_ref(), padded);
            for (path, compute) in &PATHS[1..] {
                let (loss, fast) = gradients(&fixture, adapter.as_ref(), *compute);
                let off = f64::from((loss - plain_loss).abs() / plain_loss);
                assert!(off <= EXACT, "{title}, {path}: {loss}, not {plain_loss}");
                let mut errors = Errors::default();
                for (fast, plain) in fast.iter().zip(&plain) {
                    errors.note("grad", fast, plain);
                }
                errors.check_within(&format!("{} {title} ({path})", fixture.name), EXACT);
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    for fixture in &models() {
        // DoRA takes for a constant what moves with its matrices.
        for (title, spec) in every_adapter(fixture).into_iter().filter(|(title, _)| !title.starts_with("dora")) {
            let adapter = spec.create(&fixture.model, 5, None).unwrap();
            stir(adapter.as_ref());
            let (_, gradients) = gradients(fixture, adapter.as_ref(), packed);
            for ((name, var), gradient) in adapter.parameters().iter().zip(&gradients) {
                let (shift, size) = along(var, gradient);
                let loss = |sign: f64| -> f64 {
                    var.set(&(&shift.0 + (&shift.1 * sign).unwrap()).unwrap()).unwrap();
                    f64::from(packed(fixture, adapter.as_ref()).1.to_scalar::<f32>().unwrap())
                };
                let measured = (loss(1.0) - loss(-1.0)) / 2.0;
                loss(0.0);
                assert!(
                    (measured - size).abs() <= 0.05 * size,
                    "{title}, {name}: measured {measured:e}, computed {size:e}"
                );
            }
        }
    }
}

/// A parameter's value with a step along its gradient that should change the loss by about 0.01, and by how much exactly.
fn along(var: &Var, gradient: &Tensor) -> ((Tensor, Tensor), f64) {
    let square = f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
    assert!(square > 0.0, "a gradient of zero");
    let reach = 0.3 / square.sqrt();
    let factor = (0.01 / square).min(reach);
    ((var.as_tensor().copy().unwrap(), (gradient * factor).unwrap()), factor * square)
}

#[test]
fn thread_count_does_not_change_bits() {
    for fixture in &models() {
        for (title, spec) in every_adapter(fixture) {
            let adapter = spec.create(&fixture.model, 5, None).unwrap();
            stir(adapter.as_ref());
            let bits = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let (loss, gradients) = gradients(fixture, adapter.as_ref(), shared);
                    let numbers = gradients.iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                    (loss, numbers.collect::<Vec<_>>())
                })
            };
            assert!(bits(1) == bits(2), "{title}");
        }
    }
}

#[test]
fn dropout_is_active_in_training_only_and_repeats() {
    for fixture in &models() {
        let spec =
            LoraOptions { rank: 4, alpha: 8.0, dropout: 0.5, target_modules: linears(fixture), ..Default::default() };
        let adapter = AdapterSpec::from(spec).create(&fixture.model, 5, None).unwrap();
        stir(adapter.as_ref());
        let mut tree = TokenTree::new();
        tree.push(None, &fixture.samples()[0].ids);
        let loss = |mode: Mode| {
            let hidden = fixture.model.forward(&tree, adapter.as_ref(), mode).unwrap();
            fixture.model.nll(&hidden, &[3, 4], &[7, 8]).unwrap().sum_all().unwrap()
        };
        let value = |mode: Mode| loss(mode).to_scalar::<f32>().unwrap();
        let (first, second) = (
            Mode::Train { seed: 1, pass: 0, gradient_checkpointing: false },
            Mode::Train { seed: 1, pass: 1, gradient_checkpointing: false },
        );
        assert_eq!(value(first), value(first));
        assert_ne!(value(first), value(second));
        assert_ne!(value(first), value(Mode::Eval));

        let gradients = collect(&adapter.parameters(), &loss(first).backward().unwrap()).unwrap();
        for ((name, var), gradient) in adapter.parameters().iter().zip(&gradients) {
            let (shift, size) = along(var, gradient);
            let moved = |sign: f64| {
                var.set(&(&shift.0 + (&shift.1 * sign).unwrap()).unwrap()).unwrap();
                f64::from(value(first))
            };
            let measured = (moved(1.0) - moved(-1.0)) / 2.0;
            moved(0.0);
            assert!((measured - size).abs() <= 0.05 * size, "{name}: measured {measured:e}, computed {size:e}");
        }
    }
}

#[test]
fn a_prefix_made_of_a_text_acts_like_the_text() {
    for fixture in &models() {
        let ids = &fixture.samples()[0].ids;
        let text = &ids[..6];
        let text_option = Some("six tokens".into());
        let spec = AdapterSpec::from(PrefixOptions {
            virtual_tokens: 6,
            init: PrefixInit::Text,
            init_text: text_option,
            ..Default::default()
        });
        let adapter = spec.create(&fixture.model, 0, Some(text)).unwrap();
        let prefixes = adapter.prefix().unwrap().unwrap();
        let dims = fixture.model.dims();
        let part =
            |prefix: &Tensor, i: usize| prefix.get(i).unwrap().reshape((6, dims.kv_heads, dims.head_dim)).unwrap();
        let mut tree = TokenTree::new();
        tree.push(None, text);
        for ((keys, values), prefix) in fixture.model.keys_values(text).unwrap().iter().zip(&prefixes) {
            // Turned as PEFT keeps them, and back.
            assert!(error(keys, &part(prefix, 0)) < 1e-6);
            assert_eq!(error(values, &part(prefix, 1)), 0.0);
        }
        let saved = adapter.save("some/model").unwrap();
        let again = adapters::load(&saved.config, &saved.weights, &fixture.model).unwrap();
        let logits = |adapter: &dyn Adapter| packed(fixture, adapter).0;
        assert_eq!(error(&logits(again.as_ref()), &logits(adapter.as_ref())), 0.0);
        assert!(error(&logits(adapter.as_ref()), &fixture.expected["base.logits"]) > 1e-3);
    }
}

#[test]
fn a_cache_gives_the_same_hidden_states() {
    for fixture in models() {
        for (title, spec) in every_adapter(&fixture) {
            let adapter = spec.create(&fixture.model, 5, None).unwrap();
            stir(adapter.as_ref());
            let samples = fixture.samples();
            let mut tree = TokenTree::new();
            // Less room than is needed, so that it grows.
            let mut cache = KvCache::new(16);
            let mut parts = Vec::new();
            let root = tree.push(None, &samples[0].ids[..4]);
            parts.push(fixture.model.extend(&tree, adapter.as_ref(), &mut cache).unwrap());
            let a = tree.push(Some(root), &samples[0].ids[4..]);
            tree.push(Some(root), &samples[1].ids);
            parts.push(fixture.model.extend(&tree, adapter.as_ref(), &mut cache).unwrap());
            let room = fixture.model.dims.max_positions - samples[0].ids.len() - spec.places();
            for token in 0..room.min(70) as u32 {
                tree.push(Some(if token == 0 { a } else { tree.segments().len() - 1 }), &[token]);
                parts.push(fixture.model.extend(&tree, adapter.as_ref(), &mut cache).unwrap());
            }
            assert_eq!(cache.len(), tree.len());
            let whole = fixture.model.forward(&tree, adapter.as_ref(), Mode::Eval).unwrap();
            assert!(error(&Tensor::cat(&parts, 0).unwrap(), &whole) < 1e-5, "{title}");
        }
    }
}

#[test]
fn greedy_continuation_takes_the_likeliest_tokens() {
    for fixture in &models() {
        let samples = fixture.samples();
        let mut tree = TokenTree::new();
        let leaves = [tree.push(None, &samples[0].ids), tree.push(None, &samples[1].ids)];
        let got =
            greedy(&fixture.model, &adapters::Untrained, tree, &leaves, &[], 4, |_, logits| Ok(most_likely(logits)))
                .unwrap();
        for (sample, got) in samples.iter().zip(&got) {
            let mut ids = sample.ids.clone();
            for token in got {
                let mut tree = TokenTree::new();
                let segment = tree.push(None, &ids);
                let hidden = fixture.model.forward(&tree, &adapters::Untrained, Mode::Eval).unwrap();
                let logits = fixture.model.logits(&hidden, &[tree.last(segment) as u32]).unwrap();
                assert_eq!(logits.argmax(1).unwrap().to_vec1::<u32>().unwrap(), [*token]);
                ids.push(*token);
            }
            assert_eq!(got.len(), 4);
        }
    }
}

#[test]
fn damaged_or_foreign_files_are_named() {
    let models = models();
    let fixture = models.iter().find(|f| f.family == "llama").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture.folder.join("model.safetensors")).unwrap();
    let cut = folder.path().join("model.safetensors");
    std::fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    let config = fixture.folder.join("config.json");
    let load = |files: &[(&str, &Path)]| {
        let files: BTreeMap<String, PathBuf> = files.iter().map(|(n, p)| ((*n).to_owned(), p.to_path_buf())).collect();
        load_decoder("llama", &files, &Device::Cpu).map(drop).unwrap_err()
    };
    let e = load(&[("config.json", &config), ("model.safetensors", &cut)]);
    assert!(e.message.contains("model.safetensors") && e.help.is_some(), "{e}");

    let e = load(&[("model.safetensors", &cut)]);
    assert!(e.message.contains("config.json"), "{e}");

    let mut other = read_json(&config);
    other["intermediate_size"] = json!(96);
    let wrong = folder.path().join("config.json");
    std::fs::write(&wrong, other.to_string()).unwrap();
    let weights = fixture.folder.join("model.safetensors");
    let e = load(&[("config.json", &wrong), ("model.safetensors", &weights)]);
    assert!(
        e.message.contains("mlp.gate_proj.weight") && e.message.contains("[112, 64]") && e.message.contains("[96, 64]"),
        "{e}"
    );

    other["intermediate_size"] = json!(112);
    other["num_hidden_layers"] = json!(4);
    std::fs::write(&wrong, other.to_string()).unwrap();
    let e = load(&[("config.json", &wrong), ("model.safetensors", &weights)]);
    assert!(e.message.contains("model.layers.3."), "{e}");

    let gguf = folder.path().join("x.gguf");
    std::fs::write(&gguf, b"GGUF\x03\0\0\0\x05").unwrap();
    let e = load(&[("x.gguf", &gguf)]);
    assert!(e.message.contains("x.gguf"), "{e}");

    let index = folder.path().join("i.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "model-1.safetensors"}}"#).unwrap();
    let e = load(&[("config.json", &config), ("model.safetensors.index.json", &index)]);
    assert!(e.message.contains("model-1.safetensors"), "{e}");

    let spec =
        LoraOptions { rank: 4, alpha: 8.0, dropout: 0.0, target_modules: vec!["q_prj".into()], ..Default::default() };
    let e = AdapterSpec::from(spec).create(&fixture.model, 0, None).map(drop).unwrap_err();
    assert!(e.help.is_some_and(|h| h.contains("`q_proj`")), "{}", e.message);
}

/// The real model, where `EMOPIPE_TEST_GGUF` names SmolLM2's GGUF: beside an independent implementation that reads the same
/// file, and as a chat model. That one quantises activations too, unless `CANDLE_DEQUANTIZE_ALL=1`: hence two tolerances.
#[test]
fn a_real_gguf_agrees_with_another_implementation() {
    use candle_core::quantized::gguf_file::Content;
    let Some(path) = std::env::var_os("EMOPIPE_TEST_GGUF").map(PathBuf::from) else {
        eprintln!("SKIPPED: set EMOPIPE_TEST_GGUF to SmolLM2-135M-Instruct's GGUF to run this test");
        return;
    };
    let mut file = std::fs::File::open(&path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let vocabulary: Vec<String> = content.metadata["tokenizer.ggml.tokens"]
        .to_vec()
        .unwrap()
        .iter()
        .map(|t| t.to_string().unwrap().clone())
        .collect();
    let prompt = "<|im_start|> user Ċ What Ġis Ġthe Ġcapital Ġof ĠFrance ? <|im_end|> Ċ <|im_start|> ass istant Ċ";
    let id = |word: &str| vocabulary.iter().position(|v| v == word).unwrap() as u32;
    let ids: Vec<u32> = prompt.split(' ').map(id).collect();
    let model = load_decoder("llama", &[("model.gguf".to_owned(), path)].into(), &Device::Cpu).unwrap();

    let mut theirs =
        candle_transformers::models::quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)
            .unwrap();
    let exact = std::env::var("CANDLE_DEQUANTIZE_ALL").is_ok_and(|v| v == "1");
    let tolerance = if exact { 1e-4 } else { 5e-2 };
    for len in [1, 7, ids.len()] {
        let mut tree = TokenTree::new();
        tree.push(None, &ids[..len]);
        let hidden = model.forward(&tree, &adapters::Untrained, Mode::Eval).unwrap();
        let ours = model.logits(&hidden, &[len as u32 - 1]).unwrap();
        let want = theirs.forward(&Tensor::new(&ids[..len], &Device::Cpu).unwrap().unsqueeze(0).unwrap(), 0).unwrap();
        let error = error(&ours, &want);
        println!("{len} tokens: {error:.1e}");
        assert!(error <= tolerance, "logits are off by {error}");
    }

    let mut tree = TokenTree::new();
    let leaf = tree.push(None, &ids);
    let likeliest = |_, logits: &[f32]| Ok(most_likely(logits));
    let answer = greedy(&model, &adapters::Untrained, tree, &[leaf], &[id("<|im_end|>")], 24, likeliest).unwrap();
    let text: String = answer[0].iter().map(|id| vocabulary[*id as usize].replace('Ġ', " ")).collect();
    println!("{text}");
    assert!(text.contains("capital of France is Paris"), "{text}");

    let cut = tempfile::tempdir().unwrap().path().join("cut.gguf");
    std::fs::create_dir_all(cut.parent().unwrap()).unwrap();
    let whole = std::fs::read(std::env::var_os("EMOPIPE_TEST_GGUF").unwrap()).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1000]).unwrap();
    let e = load_decoder("llama", &[("cut.gguf".to_owned(), cut)].into(), &Device::Cpu).map(drop).unwrap_err();
    assert!(e.message.contains("cut.gguf") && e.help.is_some(), "{e}");
}
