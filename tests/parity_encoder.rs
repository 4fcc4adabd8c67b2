//! Our encoders' numbers against those of transformers and PEFT, on tiny models with random weights.
//!
//! Every folder of `EMOPIPE_FIXTURES` (default `tests/fixtures`) with a model of type `bert` is held to the numbers in it, on
//! the plain padded path and on packed rows. Run with `--nocapture` to see the largest error of every quantity. What needs no
//! reference is tested on our own fixtures alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var};
use emopipe::{
    models::{
        Adapter, AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype, Encoder, Mode, TokenTree,
        adapters::{self, CONFIG_FILE, Head, LoraOptions, PrefixInit, PrefixOptions, WEIGHTS_FILE, WithHead},
        load, load_encoder, load_encoder_as, reference,
    },
    train::optimizer::{AdamW, AdamWParams, clip_grad_norm, collect},
};
use serde_json::{Value, json};

/// Allowed error: the largest difference, relative to the largest number of the expected tensor.
fn tolerance() -> f64 {
    match dtype() {
        Dtype::F32 => 1e-4,
        // Numbers of 8 bits, in each of a few layers.
        _ => 5e-2,
    }
}

/// Allowed difference between our two paths.
const EXACT: f64 = 1e-5;

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

struct Fixture {
    name: String,
    folder: PathBuf,
    model: Encoder,
    expected: BTreeMap<String, Tensor>,
    meta: Value,
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(path, &device()).unwrap().into_iter().collect()
}

fn own_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Those to agree with.
fn fixtures() -> Vec<Fixture> {
    let root = std::env::var_os("EMOPIPE_FIXTURES").map_or_else(own_fixtures, PathBuf::from);
    let found = read_fixtures(&root);
    if found.is_empty() {
        eprintln!("SKIPPED: no encoder in {}", root.display());
    }
    found
}

/// Our own models.
fn models() -> Vec<Fixture> {
    read_fixtures(&own_fixtures())
}

fn read_fixtures(root: &Path) -> Vec<Fixture> {
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    folders.retain(|f| f.join("config.json").exists() && read_json(&f.join("config.json"))["model_type"] == "bert");
    let open = |folder: PathBuf| {
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let mut expected = read_tensors(&folder.join("expected.safetensors"));
        // Prefix tuning was computed apart (tests/python/bert_prefix.py).
        let prefix = folder.join("prefix.safetensors");
        if prefix.exists() {
            expected.extend(read_tensors(&prefix).into_iter().map(|(name, t)| (format!("prefix.{name}"), t)));
        }
        Fixture {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            model: load_encoder_as("bert", &files.into(), dtype(), &device()).unwrap(),
            expected,
            meta: read_json(&folder.join("meta.json")),
            folder,
        }
    };
    folders.into_iter().map(open).collect()
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

/// Largest errors by quantity.
#[derive(Default)]
struct Errors(BTreeMap<String, f64>);

impl Errors {
    fn note(&mut self, quantity: &str, got: &Tensor, want: &Tensor) {
        let error = error(got, want);
        let worst = self.0.entry(quantity.to_owned()).or_default();
        *worst = worst.max(error);
    }

    fn check(&self, title: &str, tolerance: f64) {
        for (quantity, error) in &self.0 {
            println!("{title:<44} {quantity:<16} {error:.1e}");
        }
        for (quantity, error) in &self.0 {
            assert!(*error <= tolerance, "{title}: {quantity} is off by {error:.2e}");
        }
    }
}

/// A way to compute the batch's pooled_output.
type Compute = fn(&Fixture, &dyn Adapter) -> Tensor;

fn padded(fixture: &Fixture, adapter: &dyn Adapter) -> Tensor {
    let ids = fixture.expected["input_ids"].to_dtype(DType::U32).unwrap();
    reference::reference_encoder::pooled_output(&fixture.model, adapter, &ids, &fixture.expected["attention_mask"])
        .unwrap()
}

fn packed(fixture: &Fixture, adapter: &dyn Adapter) -> Tensor {
    fixture.packed(adapter, Mode::Eval)
}

const PATHS: &[(&str, Compute)] = &[("plain, padded", padded), ("packed", packed)];

impl Fixture {
    /// Sentences without their padding.
    fn sentences(&self) -> Vec<Vec<u32>> {
        let rows = |name: &str| self.expected[name].to_vec2::<i64>().unwrap();
        let real = |(ids, mask): (Vec<i64>, Vec<i64>)| {
            ids.into_iter().zip(mask).filter(|(_, m)| *m == 1).map(|(id, _)| id as u32).collect()
        };
        rows("input_ids").into_iter().zip(rows("attention_mask")).map(real).collect()
    }

    fn packed(&self, adapter: &dyn Adapter, mode: Mode) -> Tensor {
        let mut tree = TokenTree::new();
        let leaves: Vec<usize> = self.sentences().iter().map(|ids| tree.push(None, ids)).collect();
        self.model.pooled_output(&tree, &leaves, adapter, mode).unwrap()
    }

    fn labels(&self) -> Vec<u32> {
        self.expected["labels"].to_vec1::<i64>().unwrap().into_iter().map(|l| l as u32).collect()
    }

    /// Logits and mean loss of an adapter with a head.
    fn classify(&self, adapter: &dyn Adapter, compute: Compute) -> (Tensor, Tensor) {
        let head = adapter.head().unwrap();
        let pooled_output = compute(self, adapter);
        let loss = head.nll(&pooled_output, &self.labels()).unwrap().mean_all().unwrap();
        (head.logits(&pooled_output).unwrap(), loss)
    }

    /// The expected tensors of a condition, by the names in saved adapters.
    fn named(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let ours = |name: &str| name.replace(".modules_to_save.default.", ".").replace(".default.", ".");
        self.expected.iter().filter_map(|(k, v)| Some((ours(k.strip_prefix(prefix)?), v.clone()))).collect()
    }

    /// The conditions that the reference trained: `lora`, `prefix`.
    fn conditions(&self) -> BTreeSet<&str> {
        self.expected.keys().filter_map(|k| Some(k.split_once(".init.")?.0)).collect()
    }

    /// The adapter of a condition before training.
    fn adapter(&self, condition: &str) -> Box<dyn Adapter> {
        let tensors = self.named(&format!("{condition}.init."));
        let config = match tensors.get("prompt_embeddings") {
            Some(table) => json!({ "peft_type": "PREFIX_TUNING", "num_virtual_tokens": table.dim(0).unwrap() }),
            None => json!({
                "peft_type": "LORA", "r": self.meta["lora"]["rank"], "lora_alpha": self.meta["lora"]["alpha"],
                "target_modules": self.meta["lora"]["targets"],
            }),
        };
        adapters::load(config.to_string().as_bytes(), &serialized(&tensors), &self.model).unwrap()
    }
}

fn serialized(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let tensors: std::collections::HashMap<String, Tensor> = tensors.clone().into_iter().collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn agrees_with_the_reference_implementation() {
    for fixture in fixtures() {
        let weights = read_tensors(&fixture.folder.join("model.safetensors"));
        let head = Head::from_tensors("classifier", &weights["classifier.weight"], &weights["classifier.bias"]);
        let bare = WithHead { adapter: Box::new(adapters::Untrained), head: head.unwrap() };
        for (path, compute) in PATHS {
            // The plain path is for f32.
            if dtype() != Dtype::F32 && *path == PATHS[0].0 {
                continue;
            }
            let mut errors = Errors::default();
            let (logits, loss) = fixture.classify(&bare, *compute);
            errors.note("base.logits", &logits, &fixture.expected["base.logits"]);
            errors.note("base.loss", &loss.reshape(1).unwrap(), &fixture.expected["base.loss"]);
            errors.check(&format!("{} ({path})", fixture.name), tolerance());
            for condition in fixture.conditions() {
                train(&fixture, condition, *compute).check(&format!("{} ({path})", fixture.name), tolerance());
            }
        }
    }
}

/// The tensor of a parameter, whatever PEFT puts before its name.
fn find<'a>(tensors: &'a BTreeMap<String, Tensor>, name: &str) -> &'a Tensor {
    let (_, tensor) = tensors.iter().find(|(k, _)| k.ends_with(name)).unwrap_or_else(|| panic!("no {name}"));
    tensor
}

/// Errors of a condition before and after its AdamW steps.
fn train(fixture: &Fixture, condition: &str, compute: Compute) -> Errors {
    let mut errors = Errors::default();
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
    let (grads, after) = (fixture.named(&format!("{condition}.grad.")), fixture.named(&format!("{condition}.after.")));
    assert_eq!(parameters.len(), grads.len());
    let mut losses = Vec::new();
    for step in 0..meta["steps"].as_u64().unwrap() {
        let (logits, loss) = fixture.classify(adapter.as_ref(), compute);
        losses.push(loss.detach().reshape(1).unwrap());
        let mut gradients = collect(&parameters, &loss.backward().unwrap()).unwrap();
        if step == 0 {
            errors.note(&format!("{condition}.logits"), &logits, &fixture.expected[&format!("{condition}.logits")]);
            for ((name, _), gradient) in parameters.iter().zip(&gradients) {
                errors.note(&format!("{condition}.grad"), gradient, find(&grads, name));
            }
        }
        clip_grad_norm(&mut gradients, meta["clip_grad_norm"].as_f64().unwrap()).unwrap();
        adamw.step(&gradients, meta["lr"].as_f64().unwrap()).unwrap();
    }
    let expected = ["adamw_losses", "losses"].map(|name| fixture.expected.get(&format!("{condition}.{name}")));
    let expected = expected.into_iter().flatten().next().unwrap();
    errors.note(&format!("{condition}.losses"), &Tensor::cat(&losses, 0).unwrap(), expected);
    // AdamW divides each gradient by its own size, so that of rounding moves a parameter as far as any other.
    if dtype() == Dtype::F32 {
        for (name, var) in &parameters {
            errors.note(&format!("{condition}.after"), var, find(&after, name));
        }
    }
    errors
}

#[test]
fn loads_and_writes_adapters_as_peft_does() {
    for fixture in fixtures() {
        let folder = fixture.folder.join("peft-lora");
        if !folder.exists() {
            continue;
        }
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let adapter = adapters::load(&read(CONFIG_FILE), &read(WEIGHTS_FILE), &fixture.model).unwrap();
        let mut errors = Errors::default();
        let (logits, _) = fixture.classify(adapter.as_ref(), packed);
        errors.note("peft.logits", &logits, &fixture.expected["lora.logits"]);
        errors.check(&fixture.name, tolerance());

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
        assert_eq!(config["modules_to_save"], json!(["classifier"]));
    }
}

fn lora(targets: &[&str], dropout: f64) -> AdapterSpec {
    let target_modules = targets.iter().map(|t| (*t).to_owned()).collect();
    AdapterSpec::from(LoraOptions { rank: 4, alpha: 8.0, dropout, target_modules, ..Default::default() })
}

fn dora(targets: &[&str]) -> AdapterSpec {
    let target_modules = targets.iter().map(|t| (*t).to_owned()).collect();
    LoraOptions { rank: 4, alpha: 8.0, dropout: 0.0, target_modules, use_dora: true, ..Default::default() }.into()
}

fn every_adapter() -> Vec<(&'static str, AdapterSpec)> {
    let prefix = |projection| {
        AdapterSpec::from(PrefixOptions { virtual_tokens: 6, projection, init_std: Some(0.3), ..Default::default() })
    };
    vec![
        ("lora everywhere", lora(&["query", "key", "value", "dense"], 0.0)),
        ("dora everywhere", dora(&["query", "key", "value", "dense"])),
        ("lora at the end", lora(&["pooler.dense"], 0.0)),
        ("prefix", prefix(None)),
        ("projected prefix", prefix(Some(24))),
    ]
}

/// An adapter with a head. LoRA's `B` starts at zero, which would hide `A`'s gradient: so everything is moved a little.
fn stirred(spec: &AdapterSpec, fixture: &Fixture) -> Box<dyn Adapter> {
    let adapter = spec.create(&fixture.model, 5, None).unwrap();
    let adapter = WithHead { adapter, head: Head::new(5, &fixture.model, 5).unwrap() };
    for (i, (_, var)) in adapter.parameters().into_iter().enumerate() {
        let numbers: Vec<f32> = (0..var.elem_count()).map(|j| ((i * 31 + j * 17) % 23) as f32 / 115.0 - 0.1).collect();
        let noise = Tensor::from_vec(numbers, var.shape(), &Device::Cpu).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
    }
    Box::new(adapter)
}

fn gradients(fixture: &Fixture, adapter: &dyn Adapter, compute: Compute) -> (Tensor, Vec<Tensor>) {
    let (_, loss) = fixture.classify(adapter, compute);
    let store = loss.backward().unwrap();
    (loss.detach(), collect(&adapter.parameters(), &store).unwrap())
}

/// The reference has no numbers for most of these: our plain path is the judge.
#[test]
fn packed_and_padded_paths_agree_for_every_adapter() {
    for fixture in models() {
        for (title, spec) in every_adapter() {
            let adapter = stirred(&spec, &fixture);
            let (plain_loss, plain) = gradients(&fixture, adapter.as_ref(), padded);
            let (loss, fast) = gradients(&fixture, adapter.as_ref(), packed);
            let mut errors = Errors::default();
            errors.note("loss", &loss, &plain_loss);
            for (fast, plain) in fast.iter().zip(&plain) {
                errors.note("grad", fast, plain);
            }
            errors.check(&format!("{}, {title}: packed, not padded", fixture.name), EXACT);
        }
    }
}

/// The states of all tokens are computed by another way than the first tokens' alone.
#[test]
fn summaries_are_made_of_the_first_tokens_states() {
    for fixture in models() {
        let adapter = stirred(&every_adapter()[0].1, &fixture);
        let mut tree = TokenTree::new();
        let sentences = fixture.sentences();
        let leaves: Vec<usize> = sentences.iter().map(|ids| tree.push(None, ids)).collect();
        let hidden = fixture.model.forward(&tree, adapter.as_ref(), Mode::Eval).unwrap();
        assert_eq!(hidden.dims(), [tree.len(), fixture.model.dims().hidden]);
        // A sentence on its own has the same states as beside others.
        for (leaf, ids) in leaves.iter().zip(&sentences) {
            let mut alone = TokenTree::new();
            alone.push(None, ids);
            let states = fixture.model.forward(&alone, adapter.as_ref(), Mode::Eval).unwrap();
            let among = hidden.narrow(0, tree.segments()[*leaf].start, ids.len()).unwrap();
            assert!(error(&among, &states) < EXACT);
        }
        let linear = |x: &Tensor| {
            let low = adapter.low_rank("bert.pooler.dense").unwrap();
            let pooler = &fixture.model.pooler.linears[0];
            let y = x.matmul(&pooler.weight.t()?)?.broadcast_add(pooler.bias.as_ref().unwrap())?;
            (y + (x.matmul(&low.a.t()?)?.matmul(&low.b.t()?)? * low.scale)?)?.tanh()
        };
        let firsts: Vec<u32> = tree.segments().iter().map(|s| s.start as u32).collect();
        let firsts = hidden.index_select(&Tensor::new(firsts, &Device::Cpu).unwrap(), 0).unwrap();
        let pooled_output = fixture.model.pooled_output(&tree, &leaves, adapter.as_ref(), Mode::Eval).unwrap();
        assert!(error(&pooled_output, &linear(&firsts).unwrap()) < EXACT);
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

/// Central differences of `loss` along each parameter's gradient.
fn assert_gradients(title: &str, adapter: &dyn Adapter, loss: impl Fn() -> Tensor) {
    let gradients = collect(&adapter.parameters(), &loss().backward().unwrap()).unwrap();
    for ((name, var), gradient) in adapter.parameters().iter().zip(&gradients) {
        let (shift, size) = along(var, gradient);
        let moved = |sign: f64| -> f64 {
            var.set(&(&shift.0 + (&shift.1 * sign).unwrap()).unwrap()).unwrap();
            f64::from(loss().to_scalar::<f32>().unwrap())
        };
        let measured = (moved(1.0) - moved(-1.0)) / 2.0;
        moved(0.0);
        assert!((measured - size).abs() <= 0.05 * size, "{title}, {name}: measured {measured:e}, computed {size:e}");
    }
}

#[test]
fn gradients_match_finite_differences() {
    let fixture = &models()[0];
    // DoRA's gradient takes the rows' lengths as given, so it isn't that of the loss; `tests/peft.rs` and `parity.rs` hold it.
    for (title, spec) in every_adapter().into_iter().filter(|(title, _)| !title.starts_with("dora")) {
        let adapter = stirred(&spec, fixture);
        assert_gradients(title, adapter.as_ref(), || fixture.classify(adapter.as_ref(), packed).1);
    }
}

#[test]
fn thread_count_does_not_change_bits() {
    let fixture = &models()[0];
    for (title, spec) in every_adapter() {
        let adapter = stirred(&spec, fixture);
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (loss, gradients) = gradients(fixture, adapter.as_ref(), packed);
                let numbers = gradients.iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                (loss.to_scalar::<f32>().unwrap(), numbers.collect::<Vec<_>>())
            })
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(5), "{title}");
    }
}

#[test]
fn dropout_is_active_in_training_only_and_repeats() {
    let fixture = &models()[0];
    let adapter = stirred(&lora(&["query", "output.dense", "pooler.dense"], 0.5), fixture);
    let loss = |mode: Mode| {
        let pooled_output = fixture.packed(adapter.as_ref(), mode);
        adapter.head().unwrap().nll(&pooled_output, &fixture.labels()).unwrap().mean_all().unwrap()
    };
    let value = |mode: Mode| loss(mode).to_scalar::<f32>().unwrap();
    let (first, second) = (
        Mode::Train { seed: 1, pass: 0, gradient_checkpointing: false },
        Mode::Train { seed: 1, pass: 1, gradient_checkpointing: false },
    );
    assert_eq!(value(first), value(first));
    assert_ne!(value(first), value(second));
    assert_ne!(value(first), value(Mode::Eval));
    assert_gradients("dropout", adapter.as_ref(), || loss(first));
}

/// Encoders are also published without the head's prefix, and long ago with TensorFlow's names.
#[test]
fn published_names_make_no_difference() {
    let fixture = &models()[0];
    let rename = |name: &str| {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let weights = read_tensors(&fixture.folder.join("model.safetensors"));
    let renamed = weights.iter().map(|(name, t)| (rename(name), t.clone())).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, serialized(&renamed)).unwrap();
    let files =
        [("config.json".to_owned(), fixture.folder.join("config.json")), ("model.safetensors".to_owned(), path)];
    let model = load_encoder("bert", &files.into(), &Device::Cpu).unwrap();
    assert_eq!(model.modules(), fixture.model.modules());
    let none = adapters::Untrained;
    let other = Fixture {
        model,
        name: String::new(),
        folder: PathBuf::new(),
        meta: Value::Null,
        expected: fixture.expected.clone(),
    };
    assert_eq!(error(&packed(&other, &none), &packed(fixture, &none)), 0.0);
}

/// Frozen matrices in half precision compute like the same matrices rounded.
#[test]
fn half_precision_is_rounding_alone() {
    let fixture = &models()[0];
    let files: BTreeMap<_, _> =
        ["config.json", "model.safetensors"].map(|f| (f.to_owned(), fixture.folder.join(f))).into();
    let spec = BackboneSpec { family: "bert".into(), dtype: Dtype::Bf16, config: ConfigTable::new() };
    let half = load(&spec, &files, &Device::Cpu).unwrap();
    let rounded = |(name, t): (String, Tensor)| {
        // What stays in f32: norms, biases, and what positions and sentences add.
        let small = t.dims().len() == 1 || name.contains("position") || name.contains("token_type");
        (name, if small { t } else { t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap() })
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let weights = read_tensors(&fixture.folder.join("model.safetensors"));
    std::fs::write(&path, serialized(&weights.into_iter().map(rounded).collect())).unwrap();
    let files = [("config.json".to_owned(), files["config.json"].clone()), ("model.safetensors".to_owned(), path)];
    let whole = load_encoder("bert", &files.into(), &Device::Cpu).unwrap();

    let mut tree = TokenTree::new();
    let leaves: Vec<usize> = fixture.sentences().iter().map(|ids| tree.push(None, ids)).collect();
    let numbers = |model: &dyn Backbone| {
        let adapter = every_adapter()[0].1.create(model, 5, None).unwrap();
        let pooled_output = model.pooled_output(&tree, &leaves, adapter.as_ref(), Mode::Eval).unwrap();
        let gradients = collect(&adapter.parameters(), &pooled_output.sum_all().unwrap().backward().unwrap()).unwrap();
        (pooled_output.detach(), gradients)
    };
    let (got, want) = (numbers(half.as_ref()), numbers(&whole));
    let mut errors = Errors::default();
    errors.note("pooled_output", &got.0, &want.0);
    for (got, want) in got.1.iter().zip(&want.1) {
        errors.note("grad", got, want);
    }
    errors.check("bert-tiny, bf16", EXACT);
    assert!(error(&got.0, &numbers(&fixture.model).0) > EXACT, "nothing was rounded");
}

#[test]
fn a_prefix_made_of_a_text_holds_its_keys_and_values() {
    let fixture = &models()[0];
    let text = &fixture.sentences().into_iter().max_by_key(Vec::len).unwrap()[..6];
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
    let part = |prefix: &Tensor, i: usize| prefix.get(i).unwrap().reshape((6, dims.kv_heads, dims.head_dim)).unwrap();
    for ((keys, values), prefix) in fixture.model.keys_values(text).unwrap().iter().zip(&prefixes) {
        assert_eq!(error(keys, &part(prefix, 0)), 0.0);
        assert_eq!(error(values, &part(prefix, 1)), 0.0);
    }
}

#[test]
fn what_an_encoder_cant_do_is_said() {
    let fixture = &models()[0];
    let context = fixture.model.dims().max_positions;
    let mut tree = TokenTree::new();
    let leaf = tree.push(None, &vec![1; context]);
    let (_, prefix) = every_adapter().into_iter().find(|(title, _)| *title == "prefix").unwrap();
    let adapter = stirred(&prefix, fixture);
    let pooled_output =
        |adapter: &dyn Adapter| fixture.model.pooled_output(&tree, &[leaf], adapter, Mode::Eval).map(drop);
    assert!(pooled_output(&adapters::Untrained).is_ok());
    let e = pooled_output(adapter.as_ref()).unwrap_err();
    assert!(e.message.contains("prefix of 6") && e.help.unwrap().contains(&(context - 6).to_string()), "{}", e.message);

    let hidden = Tensor::zeros((1, fixture.model.dims().hidden), DType::F32, &Device::Cpu).unwrap();
    let e = fixture.model.nll(&hidden, &[0], &[0]).unwrap_err();
    assert!(e.help.unwrap().contains("head = true"), "{}", e.message);

    let e = lora(&["q_proj"], 0.0).create(&fixture.model, 0, None).map(drop).unwrap_err();
    assert!(e.help.unwrap().contains("query"), "{}", e.message);

    let folder = tempfile::tempdir().unwrap();
    let mut config = read_json(&fixture.folder.join("config.json"));
    config["hidden_act"] = json!("relu");
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let weights = fixture.folder.join("model.safetensors");
    let files = [("config.json".to_owned(), path), ("model.safetensors".to_owned(), weights)];
    let e = load_encoder("bert", &files.into(), &Device::Cpu).map(drop).unwrap_err();
    assert!(e.message.contains("`hidden_act` is `relu`"), "{}", e.message);
}
