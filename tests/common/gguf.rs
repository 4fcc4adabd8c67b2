//! A GGUF file with the numbers of another format's.

use std::{collections::HashMap, fs::File, path::Path};

use candle_core::{
    Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};
use serde_json::Value as Json;

/// Tensors by their names in a model's safetensors.
pub type Tensors = HashMap<String, Tensor>;

/// The metadata that llama.cpp's converter writes for a llama with this `config.json`.
pub fn metadata(config: &Json) -> Vec<(String, Value)> {
    let number = |key: &str| Value::U32(config[key].as_u64().unwrap() as u32);
    let float = |value: &Json| Value::F32(value.as_f64().unwrap() as f32);
    [
        ("general.architecture", Value::String("llama".to_owned())),
        ("llama.context_length", number("max_position_embeddings")),
        ("llama.embedding_length", number("hidden_size")),
        ("llama.block_count", number("num_hidden_layers")),
        ("llama.feed_forward_length", number("intermediate_size")),
        ("llama.attention.head_count", number("num_attention_heads")),
        ("llama.attention.head_count_kv", number("num_key_value_heads")),
        ("llama.attention.layer_norm_rms_epsilon", float(&config["rms_norm_eps"])),
        ("llama.rope.freq_base", float(&config["rope_parameters"]["rope_theta"])),
        ("llama.rope.dimension_count", number("head_dim")),
        ("llama.vocab_size", number("vocab_size")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// The tensors of a llama in f32, under GGUF's names, with rows of queries and keys in the order of interleaved pairs.
pub fn tensors(config: &Json, tensors: &Tensors) -> Vec<(String, Tensor)> {
    let heads = |key: &str| config[key].as_u64().unwrap() as usize;
    let mut all: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let tensor = match name {
                name if name.contains(".q_proj.") => interleaved(tensor, heads("num_attention_heads")),
                name if name.contains(".k_proj.") => interleaved(tensor, heads("num_key_value_heads")),
                _ => tensor.clone(),
            };
            (renamed(name), tensor)
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

fn renamed(name: &str) -> String {
    [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn interleaved(tensor: &Tensor, heads: usize) -> Tensor {
    let rows = tensor.dim(0).unwrap();
    let rest = tensor.elem_count() / rows;
    let split = tensor.reshape((heads, 2, rows / heads / 2, rest)).unwrap();
    split.transpose(1, 2).unwrap().contiguous().unwrap().reshape(tensor.shape()).unwrap()
}

/// Every tensor is stored in f32.
pub fn write(path: &Path, metadata: &[(String, Value)], tensors: &[(String, Tensor)]) {
    let stored: Vec<_> =
        tensors.iter().map(|(name, t)| (name, QTensor::quantize(t, GgmlDType::F32).unwrap())).collect();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = stored.iter().map(|(name, t)| (name.as_str(), t)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
}
