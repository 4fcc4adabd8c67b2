//! A stand-in backbone: ChatGLM2's architecture with random weights, in the files that its publisher uses.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use half::f16;
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Map, Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// The sizes of a model, and how many files it is written in.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    /// Key/value heads.
    pub groups: usize,
    pub head_dim: usize,
    pub positions: usize,
    pub shards: usize,
}

impl Sizes {
    /// About 60,000 numbers beside embedding and output layer.
    pub fn tiny(vocab: usize) -> Self {
        Self {
            vocab,
            hidden: 64,
            intermediate: 96,
            layers: 2,
            heads: 4,
            groups: 2,
            head_dim: 16,
            positions: 512,
            shards: 2,
        }
    }

    /// The keys of `config.json` as ChatGLM2-6B's has them.
    pub fn config(&self) -> Value {
        json!({
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "add_bias_linear": false,
            "add_qkv_bias": true,
            "apply_query_key_layer_scaling": true,
            "apply_residual_connection_post_layernorm": false,
            "attention_dropout": 0.0,
            "attention_softmax_in_fp32": true,
            "bias_dropout_fusion": true,
            "ffn_hidden_size": self.intermediate,
            "fp32_residual_connection": false,
            "hidden_dropout": 0.0,
            "hidden_size": self.hidden,
            "kv_channels": self.head_dim,
            "layernorm_epsilon": 1e-5,
            "multi_query_attention": true,
            "multi_query_group_num": self.groups,
            "num_attention_heads": self.heads,
            "num_layers": self.layers,
            "original_rope": true,
            "padded_vocab_size": self.vocab,
            "post_layer_norm": true,
            "quantization_bit": 0,
            "rmsnorm": true,
            "seq_length": self.positions,
            "tie_word_embeddings": false,
            "torch_dtype": "float16",
            "use_cache": true,
        })
    }

    /// Every tensor and its shape, in the order of the published index.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self { vocab, hidden, intermediate, heads, groups, head_dim, .. } = *self;
        let (queries, qkv) = (heads * head_dim, (heads + 2 * groups) * head_dim);
        let mut tensors = vec![("transformer.embedding.word_embeddings.weight".to_owned(), vec![vocab, hidden])];
        for layer in 0..self.layers {
            let parts: [(&str, Vec<usize>); 7] = [
                ("input_layernorm.weight", vec![hidden]),
                ("mlp.dense_4h_to_h.weight", vec![hidden, intermediate]),
                ("mlp.dense_h_to_4h.weight", vec![2 * intermediate, hidden]),
                ("post_attention_layernorm.weight", vec![hidden]),
                ("self_attention.dense.weight", vec![hidden, queries]),
                ("self_attention.query_key_value.bias", vec![qkv]),
                ("self_attention.query_key_value.weight", vec![qkv, hidden]),
            ];
            let at = |(name, shape)| (format!("transformer.encoder.layers.{layer}.{name}"), shape);
            tensors.extend(parts.map(at));
        }
        tensors.push(("transformer.encoder.final_layernorm.weight".to_owned(), vec![hidden]));
        tensors.push(("transformer.output_layer.weight".to_owned(), vec![vocab, hidden]));
        tensors.push(("transformer.rotary_pos_emb.inv_freq".to_owned(), vec![head_dim / 4]));
        tensors
    }
}

/// Writes `config.json`, `pytorch_model-*.bin` in half precision and their index into `folder`; the names of the files.
pub fn write_chatglm(folder: &Path, sizes: &Sizes, seed: u64) -> Vec<String> {
    fs::create_dir_all(folder).unwrap();
    let tensors = sizes.tensors();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut names = vec!["config.json".to_owned(), "pytorch_model.bin.index.json".to_owned()];
    let mut places = Map::new();
    let mut total = 0;
    for (i, part) in tensors.chunks(tensors.len().div_ceil(sizes.shards)).enumerate() {
        let name = format!("pytorch_model-{:05}-of-{:05}.bin", i + 1, sizes.shards);
        write_torch(&folder.join(&name), part, |name, shape| draw(&mut rng, name, shape));
        for (tensor, shape) in part {
            total += 2 * shape.iter().product::<usize>();
            places.insert(tensor.clone(), name.as_str().into());
        }
        names.push(name);
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    fs::write(folder.join(&names[0]), sizes.config().to_string()).unwrap();
    fs::write(folder.join(&names[1]), index.to_string()).unwrap();
    names
}

/// Norms are 1, everything else is uniform with the spread that keeps activations of about 1.
fn draw(rng: &mut ChaCha8Rng, name: &str, shape: &[usize]) -> Vec<f16> {
    let len = shape.iter().product();
    if name.contains("norm") {
        return vec![f16::ONE; len];
    }
    let inputs = if name.contains("embedding") { 1 } else { shape.last().copied().unwrap_or(1) };
    let bound = (3.0 / inputs as f32).sqrt();
    (0..len).map(|_| f16::from_f32((rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0) * bound)).collect()
}

/// A file as `torch.save` writes a model's tensors in half precision, one storage each.
pub fn write_torch(path: &Path, tensors: &[(String, Vec<usize>)], mut numbers: impl FnMut(&str, &[usize]) -> Vec<f16>) {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path).unwrap()));
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), plain).unwrap();
        zip.write_all(bytes).unwrap();
    };
    entry("data.pkl", &pickle(tensors));
    entry("byteorder", b"little");
    for (i, (name, shape)) in tensors.iter().enumerate() {
        let bytes: Vec<u8> = numbers(name, shape).into_iter().flat_map(f16::to_le_bytes).collect();
        entry(&format!("data/{i}"), &bytes);
    }
    entry("version", b"3\n");
    zip.finish().unwrap().flush().unwrap();
}

/// The ordered dictionary of `tensors`, whose storages have their places as keys, in pickle's protocol 2.
pub fn pickle(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let int = |n: usize| [b"J".as_slice(), &(n as i32).to_le_bytes()].concat();
    let tuple =
        |items: &[usize]| [b"(".as_slice(), &items.iter().flat_map(|n| int(*n)).collect::<Vec<_>>(), b"t"].concat();
    let ordered = b"ccollections\nOrderedDict\n)R";
    let mut p = [b"\x80\x02".as_slice(), ordered, b"("].concat();
    for (i, (name, shape)) in tensors.iter().enumerate() {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        p.extend(text(name));
        p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
        p.extend([b"(".as_slice(), &text("storage"), b"ctorch\nHalfStorage\n", &text(&i.to_string())].concat());
        p.extend([text("cpu"), int(shape.iter().product()), b"tQ".to_vec()].concat());
        p.extend([int(0), tuple(shape), tuple(&strides), b"\x89".to_vec(), ordered.to_vec(), b"tR".to_vec()].concat());
    }
    p.extend(b"u.");
    p
}
