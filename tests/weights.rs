//! Weight files as they are published, and as they must not be: each mistake has its message, and nothing is executed.

mod common;

use std::{collections::BTreeMap, fs, io::Write, path::PathBuf};

use candle_core::{Device, Tensor};
use common::chatglm::{Sizes, pickle, write_chatglm, write_torch};
use emopipe::{
    base::error::Error,
    models::{
        AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype, Mode, TokenTree, adapters::LoraOptions, dims, load,
        weights::model_config::Config,
    },
};
use half::f16;
use serde_json::{Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const INDEX: [(&str, &str); 2] =
    [("pytorch", "pytorch_model.bin.index.json"), ("safetensors", "model.safetensors.index.json")];

/// A model's files, which a test may damage.
struct Model {
    folder: tempfile::TempDir,
    index: &'static str,
}

impl Model {
    /// A small ChatGLM2 in sharded files of one format.
    fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = write_chatglm(folder.path(), &Sizes::tiny(300), 3);
        let (_, index) = INDEX.into_iter().find(|(name, _)| *name == format).unwrap();
        let model = Self { folder, index };
        if format == "safetensors" {
            model.convert(&names);
        }
        model
    }

    /// Rewrites the shards with another reader and writer.
    fn convert(&self, names: &[String]) {
        let renamed = |name: &str| name.replace("pytorch_model", "model").replace(".bin", ".safetensors");
        for name in names.iter().filter(|n| n.ends_with(".bin")) {
            let tensors = candle_core::pickle::read_all(self.path(name)).unwrap();
            let tensors: std::collections::HashMap<_, _> = tensors.into_iter().collect();
            candle_core::safetensors::save(&tensors, self.path(&renamed(name))).unwrap();
            fs::remove_file(self.path(name)).unwrap();
        }
        let index = fs::read_to_string(self.path(INDEX[0].1)).unwrap();
        fs::remove_file(self.path(INDEX[0].1)).unwrap();
        fs::write(self.path(self.index), renamed(&index)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> BTreeMap<String, PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), e.path())).collect()
    }

    fn load_as(&self, dtype: Dtype, config: ConfigTable) -> Result<Box<dyn Backbone>, Error> {
        load(&BackboneSpec { family: "chatglm".into(), dtype, config }, &self.files(), &Device::Cpu)
    }

    fn load(&self) -> Result<Box<dyn Backbone>, Error> {
        self.load_as(Dtype::F32, ConfigTable::new())
    }

    /// The message and the advice of loading it.
    #[track_caller]
    fn refused(&self) -> String {
        let e = self.load().map(drop).unwrap_err();
        assert!(e.help.is_some(), "no advice: {e}");
        e.message
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap();
        change(&mut value);
        fs::write(self.path(name), value.to_string()).unwrap();
    }

    fn edit_index(&self, change: impl FnOnce(&mut Value)) {
        self.edit(self.index, |index| change(&mut index["weight_map"]));
    }

    /// The first shard.
    fn shard(&self) -> String {
        self.files().into_keys().find(|n| n.contains("00001-of-")).unwrap()
    }
}

fn both(test: impl Fn(&Model)) {
    for (format, _) in INDEX {
        test(&Model::new(format));
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` isn't in: {message}");
    }
}

/// Hidden states, losses and the gradient of an adapter.
fn numbers(model: &dyn Backbone) -> Vec<Vec<f32>> {
    let target_modules = vec!["query_key_value".into(), "dense_h_to_4h".into(), "dense_4h_to_h".into()];
    let spec =
        AdapterSpec::from(LoraOptions { rank: 4, alpha: 8.0, dropout: 0.0, target_modules, ..Default::default() });
    let adapter = spec.create(model, 1, None).unwrap();
    let mut tree = TokenTree::new();
    tree.push(None, &[5, 6, 7, 200, 201, 299]);
    let hidden = model.forward(&tree, adapter.as_ref(), Mode::Eval).unwrap();
    let nll = model.nll(&hidden, &[1, 3, 5], &[9, 10, 299]).unwrap();
    let gradients = nll.sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut all = vec![flat(&hidden), flat(&nll)];
    all.extend(adapter.parameters().iter().map(|(_, var)| flat(gradients.get(var).unwrap())));
    all
}

#[test]
fn both_formats_give_the_same_model_in_every_number_format() {
    let [pickled, safe] = INDEX.map(|(format, _)| Model::new(format));
    let of = |model: &Model, dtype| numbers(model.load_as(dtype, ConfigTable::new()).unwrap().as_ref());
    let whole = of(&pickled, Dtype::F32);
    assert!(whole == of(&safe, Dtype::F32));
    // The files hold half-precision numbers: nothing is lost.
    assert!(whole == of(&pickled, Dtype::F16));
    assert!(whole == of(&safe, Dtype::F16));
    let coarse = of(&pickled, Dtype::Bf16);
    assert!(coarse == of(&safe, Dtype::Bf16));
    for (coarse, whole) in coarse.iter().zip(&whole) {
        let size = whole.iter().fold(0f32, |a, x| a.max(x.abs()));
        let off = coarse.iter().zip(whole).fold(0f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(off <= 0.1 * size, "{off} of {size}");
        assert!(size == 0.0 || off > 0.0);
    }
}

#[test]
fn a_configuration_table_stands_in_for_the_file_or_agrees_with_it() {
    let model = Model::new("pytorch");
    let whole: ConfigTable = serde_json::from_value(Sizes::tiny(300).config()).unwrap();
    let stated = dims("chatglm", &Config::of_table(&whole)).unwrap();
    assert_eq!(model.load_as(Dtype::F32, whole.clone()).unwrap().dims(), stated);
    let mut wrong = whole.clone();
    wrong.insert("num_layers".into(), json!(7));
    let e = model.load_as(Dtype::F32, wrong).map(drop).unwrap_err();
    says(&e.message, &["`num_layers` is 2 in config.json", "7 in the model's `config` table"]);

    fs::remove_file(model.path("config.json")).unwrap();
    assert_eq!(model.load_as(Dtype::F32, whole).unwrap().dims(), stated);
    says(&model.refused(), &["no config.json"]);
}

#[test]
fn what_is_computed_otherwise_is_refused() {
    let sizes = Sizes::tiny(300);
    for (key, value) in [
        ("apply_residual_connection_post_layernorm", json!(true)),
        ("rmsnorm", json!(false)),
        ("post_layer_norm", json!(false)),
        ("add_bias_linear", json!(true)),
        ("multi_query_attention", json!(false)),
        ("original_rope", json!(false)),
        ("tie_word_embeddings", json!(true)),
        ("rope_ratio", json!(50)),
        ("quantization_bit", json!(4)),
        ("model_type", json!("llama")),
        ("multi_query_group_num", json!(3)),
        ("ffn_hidden_size", json!("many")),
    ] {
        let mut config: ConfigTable = serde_json::from_value(sizes.config()).unwrap();
        config.insert(key.into(), value);
        let e = dims("chatglm", &Config::of_table(&config)).unwrap_err();
        let name = if key == "multi_query_group_num" { "groups" } else { key };
        says(&e.message, &[name, "`config` table"]);
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named_with_both_shapes() {
    both(|model| {
        model.edit("config.json", |config| config["ffn_hidden_size"] = json!(80));
        says(&model.refused(), &[&model.shard(), "layers.0.mlp.dense_h_to_4h.weight", "[192, 64]", "[160, 64]"]);
    });
}

#[test]
fn a_missing_shard_is_named() {
    both(|model| {
        let shard = model.shard();
        fs::remove_file(model.path(&shard)).unwrap();
        says(&model.refused(), &[model.index, &shard]);
        // Their names alone tell how many there are.
        fs::remove_file(model.path(model.index)).unwrap();
        says(&model.refused(), &["the shard", &shard, "isn't among the model's files"]);
    });
}

#[test]
fn an_index_stays_in_its_folder() {
    for file in ["../outside.bin", "/etc/hostname", "a/../../outside.bin", "..\\outside.bin", ""] {
        both(|model| {
            model.edit_index(|map| map["transformer.output_layer.weight"] = json!(file));
            says(&model.refused(), &[model.index, "transformer.output_layer.weight", "outside the model's folder"]);
        });
    }
}

#[test]
fn an_index_and_its_shards_have_to_agree() {
    both(|model| {
        let first = model.shard();
        model.edit_index(|map| map["transformer.output_layer.weight"] = json!(first));
        says(&model.refused(), &[&first, "no tensor `transformer.output_layer.weight`", model.index]);
        model.edit_index(|map| _ = map.as_object_mut().unwrap().remove("transformer.output_layer.weight"));
        says(&model.refused(), &[model.index, "no tensor `transformer.output_layer.weight`"]);
        model.edit_index(|map| *map = json!({}));
        says(&model.refused(), &[model.index, "lists no tensor"]);
    });
}

#[test]
fn a_file_that_is_cut_short_or_empty_is_named() {
    both(|model| {
        let shard = model.shard();
        let whole = fs::read(model.path(&shard)).unwrap();
        for len in [0, 1, 8, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(model.path(&shard), &whole[..len]).unwrap();
            says(&model.refused(), &[&shard]);
        }
        let mut longer = whole;
        longer.extend([0; 70_000]);
        fs::write(model.path(&shard), longer).unwrap();
        says(&model.refused(), &[&shard]);
    });
}

/// Damage is found or harmless, wherever it is; it never ends the process.
#[test]
fn no_flipped_byte_makes_loading_panic() {
    both(|model| {
        let shard = model.shard();
        let whole = fs::read(model.path(&shard)).unwrap();
        // What describes the tensors lies at the start and at the end.
        let places = (0..2500).step_by(7).chain(whole.len() - 2500..whole.len());
        let mut refused = 0;
        for at in places.step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(model.path(&shard), damaged).unwrap();
            refused += usize::from(model.load().is_err());
        }
        assert!(refused > 50, "{refused}");
    });
}

/// An archive with these entries in place of the first shard.
fn replace_shard(model: &Model, options: SimpleFileOptions, entries: &[(&str, &[u8])]) -> String {
    let shard = model.shard();
    let mut zip = ZipWriter::new(fs::File::create(model.path(&shard)).unwrap());
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    shard
}

const STORED: CompressionMethod = CompressionMethod::Stored;

fn options(method: CompressionMethod) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(method)
}

fn one(name: &str, shape: &[usize]) -> Vec<(String, Vec<usize>)> {
    vec![(name.to_owned(), shape.to_vec())]
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused() {
    let model = Model::new("pytorch");
    let canary = model.path("canary");
    let command = format!("touch {}", canary.display());
    let argument = [b"X".as_slice(), &(command.len() as u32).to_le_bytes(), command.as_bytes()].concat();
    let calls = |module: &str, function: &str| -> Vec<u8> {
        [format!("c{module}\n{function}\n").as_bytes(), &argument, b"\x85R."].concat()
    };
    for (module, function) in [("os", "system"), ("posix", "system"), ("subprocess", "getoutput"), ("builtins", "exec")]
    {
        let pickle = calls(module, function);
        let shard = replace_shard(&model, options(STORED), &[("archive/data.pkl", &pickle)]);
        says(&model.refused(), &[&shard, &format!("`{module}.{function}`"), "nothing was executed"]);
    }
    // Among tensors that are all right.
    let mut hidden = pickle(&one("a", &[2]));
    hidden.truncate(hidden.len() - 1);
    hidden.extend(calls("os", "system"));
    let shard = replace_shard(&model, options(STORED), &[("archive/data.pkl", &hidden), ("archive/data/0", &[0; 4])]);
    says(&model.refused(), &[&shard, "`os.system`"]);
    assert!(!canary.exists());

    // In Python, the same bytes do run the command: the test isn't vacuous.
    let file = model.path("proof.pkl");
    fs::write(&file, calls("os", "system")).unwrap();
    let run = std::process::Command::new("python3")
        .args(["-c", "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"])
        .arg(&file)
        .status();
    match run {
        Ok(status) if status.success() => assert!(canary.exists()),
        _ => eprintln!("SKIPPED that Python runs what is refused here: there is no python3"),
    }
}

#[test]
fn archives_that_pytorch_does_not_write_are_refused() {
    let model = Model::new("pytorch");
    let description = pickle(&one("a", &[2]));
    let data = [0u8; 4];
    let entries = [("archive/data.pkl", description.as_slice()), ("archive/data/0", data.as_slice())];
    let shard = replace_shard(&model, options(CompressionMethod::Deflated), &entries);
    says(&model.refused(), &[&shard, "archive/data.pkl", "compressed"]);

    let shard = replace_shard(&model, options(STORED), &[("archive/other", &data)]);
    says(&model.refused(), &[&shard, "no data.pkl"]);

    let shard = replace_shard(&model, options(STORED), &entries[..1]);
    says(&model.refused(), &[&shard, "tensor `a`", "no storage `0`"]);

    let short = [entries[0], ("archive/data/0", &data[..3])];
    let shard = replace_shard(&model, options(STORED), &short);
    says(&model.refused(), &[&shard, "tensor `a`", "3 bytes for 2 numbers"]);

    let other_order = [entries[0], entries[1], ("archive/byteorder", b"big".as_slice())];
    let shard = replace_shard(&model, options(STORED), &other_order);
    says(&model.refused(), &[&shard, "little-endian"]);

    // A view that reaches beyond its storage: its shape, written as two 32-bit numbers, becomes larger.
    let mut beyond = description.clone();
    let shape = beyond.windows(7).position(|w| w == b"(J\x02\0\0\0t").unwrap();
    beyond[shape + 2] = 3;
    let shard = replace_shard(&model, options(STORED), &[("archive/data.pkl", &beyond), entries[1]]);
    says(&model.refused(), &[&shard, "tensor `a`", "[3]"]);

    // A view of one number, over and over: its stride, which follows its shape, becomes zero.
    let mut repeated = beyond;
    repeated[shape + 10] = 0;
    let shard = replace_shard(&model, options(STORED), &[("archive/data.pkl", &repeated), entries[1]]);
    says(&model.refused(), &[&shard, "tensor `a`", "[3]"]);

    let shard = model.shard();
    fs::write(model.path(&shard), b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    says(&model.refused(), &[&shard, "since version 1.6"]);
}

#[test]
fn weights_that_are_not_floats_are_refused() {
    let model = Model::new("pytorch");
    let name = "transformer.embedding.word_embeddings.weight";
    let description = pickle(&one(name, &[300, 64]));
    let at = description.windows(11).position(|w| w == b"HalfStorage").unwrap();
    let whole = [&description[..at], b"LongStorage", &description[at + 11..]].concat();
    let numbers = vec![0u8; 300 * 64 * 8];
    let entries = [("archive/data.pkl", whole.as_slice()), ("archive/data/0", numbers.as_slice())];
    let shard = replace_shard(&model, options(STORED), &entries);
    says(&model.refused(), &[&shard, name, "int64"]);
}

#[test]
fn a_single_file_needs_no_index() {
    let model = Model::new("pytorch");
    let whole = numbers(model.load().unwrap().as_ref());
    let mut tensors = Vec::new();
    for name in model.files().into_keys().filter(|n| n.ends_with(".bin")) {
        tensors.extend(candle_core::pickle::read_all(model.path(&name)).unwrap());
        fs::remove_file(model.path(&name)).unwrap();
    }
    fs::remove_file(model.path(model.index)).unwrap();
    let shapes: Vec<_> = tensors.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
    let by_name: BTreeMap<_, _> = tensors.into_iter().collect();
    write_torch(&model.path("pytorch_model.bin"), &shapes, |name, _| {
        by_name[name].flatten_all().unwrap().to_vec1::<f16>().unwrap()
    });
    fs::write(model.path("training_args.bin"), b"no weights").unwrap();
    assert!(numbers(model.load().unwrap().as_ref()) == whole);
}

/// Reads more than a gibibyte, and watches how much memory that takes. Alone in its process, as peaks belong to a process:
/// `EMOPIPE_TEST_MEMORY=1 cargo test --release --test weights memory`.
#[test]
fn memory_stays_near_the_size_of_the_model() {
    if std::env::var_os("EMOPIPE_TEST_MEMORY").is_none() {
        eprintln!("SKIPPED memory_stays_near_the_size_of_the_model: set EMOPIPE_TEST_MEMORY=1 to run this test, alone");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sizes = Sizes {
        vocab: 65_024,
        hidden: 2048,
        intermediate: 5504,
        layers: 8,
        heads: 16,
        groups: 2,
        head_dim: 128,
        positions: 512,
        shards: 3,
    };
    let names = write_chatglm(folder.path(), &sizes, 1);
    let files: BTreeMap<_, _> = names.into_iter().map(|n| (n.clone(), folder.path().join(n))).collect();
    let stored: u64 = files.values().map(|path| fs::metadata(path).unwrap().len()).sum();
    for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F32] {
        // Forgets the peak of what came before.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let spec = BackboneSpec { family: "chatglm".into(), dtype, config: ConfigTable::new() };
        let model = load(&spec, &files, &Device::Cpu).unwrap();
        let (peak, size) = (status("VmHWM"), stored * dtype.bytes() as u64 / 2);
        println!("{dtype:?}: {} MiB for a model of {} MiB", peak >> 20, size >> 20);
        assert!(peak < size + (256 << 20));
        drop(model);
    }
}

/// A line of the process's status, in bytes.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// PyTorch itself reads what the stand-in's writer writes, where `EMOPIPE_PYTHON` (default `python3`) has it.
#[test]
fn pytorch_reads_the_stand_in() {
    let model = Model::new("pytorch");
    let python = std::env::var("EMOPIPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import sys, torch\n\
        for path in sys.argv[1:]:\n    \
            for name, t in torch.load(path, weights_only=True).items(): print(name, list(t.shape), t.dtype)";
    let shards = model.files().into_iter().filter(|(n, _)| n.ends_with(".bin")).map(|(_, path)| path);
    let ran = std::process::Command::new(python).args(["-c", script]).args(shards).output();
    match ran {
        Ok(ran) if ran.status.success() => {
            let text = String::from_utf8(ran.stdout).unwrap();
            says(&text, &["transformer.output_layer.weight [300, 64] torch.float16", "query_key_value.bias [128]"]);
            assert_eq!(text.lines().count(), 18);
        }
        Ok(ran) if !String::from_utf8_lossy(&ran.stderr).contains("No module named 'torch'") => {
            panic!("{}", String::from_utf8_lossy(&ran.stderr))
        }
        _ => {
            eprintln!("SKIPPED pytorch_reads_the_stand_in: set EMOPIPE_PYTHON to a Python with torch to run this test")
        }
    }
}
