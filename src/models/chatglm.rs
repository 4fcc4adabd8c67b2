//! ChatGLM2 and ChatGLM3, as THUDM's modelling code computes them.
//!
//! Queries, keys and values are one linear layer with a bias, gate and up another; half of each head is rotated, in
//! interleaved pairs. (The reference divides attention scores by the layer's number and multiplies them by it again, against
//! overflow in half precision: ours are f32 and need neither.)

use std::sync::Arc;

use super::{
    backbone::{Dims, Module},
    decoder::{Decoder, Layer, Norm},
    linear::{Linear, Projection},
    ops::rotary::{Pairs, Rotary},
    weights::{
        config_bounds::{EPSILON, most},
        loader::Loader,
        model_config::Config,
    },
};
use crate::base::error::Result;

/// Keys of these models' `config.json` that don't change what is computed.
pub const HARMLESS_KEYS: &[&str] = &[
    // The published code is what this family computes.
    "auto_map",
    // How half precision is kept from overflowing.
    "apply_query_key_layer_scaling",
    "attention_softmax_in_fp32",
    "fp32_residual_connection",
    "bias_dropout_fusion",
    "hidden_dropout",
    "classifier_dropout",
    // Of a prefix that isn't there, which is looked at.
    "prefix_projection",
    "is_decoder",
    // The code reads `padded_vocab_size`.
    "vocab_size",
];

/// The published code computes the frequencies itself.
pub const HARMLESS_TENSORS: &[&str] = &["transformer.rotary_pos_emb.inv_freq"];

/// Base of the rotary frequencies.
const THETA: f64 = 10_000.0;

/// Every tensor of the model, with its shape checked.
///
/// # Errors
/// If one is missing or has another shape, or the configuration isn't understood.
pub fn load(from: &Loader) -> Result<Decoder> {
    let Architecture { dims, eps } = read(from.config())?;
    let Dims { vocab, hidden, intermediate, .. } = dims;

    let norm = |name: &str| -> Result<Norm> { Ok(Norm { weight: from.vector(name, hidden)?, eps }) };
    let linear = |path: String, outputs: usize, inputs: usize, bias: bool| -> Result<Arc<Projection>> {
        let linear = Linear {
            weight: from.matrix(&format!("{path}.weight"), outputs, inputs)?,
            bias: if bias { Some(from.vector(&format!("{path}.bias"), outputs)?) } else { None },
            path,
        };
        Ok(Arc::new(Projection::new(vec![linear])?))
    };
    let layer = |i: usize| -> Result<Layer> {
        let at = |name: &str| format!("transformer.encoder.layers.{i}.{name}");
        let qkv_width = dims.q_width() + 2 * dims.kv_width();
        Ok(Layer {
            attention_norm: norm(&at("input_layernorm.weight"))?,
            qkv: linear(at("self_attention.query_key_value"), qkv_width, hidden, dims.qkv_bias)?,
            output: linear(at("self_attention.dense"), hidden, dims.q_width(), false)?,
            mlp_norm: norm(&at("post_attention_layernorm.weight"))?,
            gate_up: linear(at("mlp.dense_h_to_4h"), 2 * intermediate, hidden, false)?,
            down: linear(at("mlp.dense_4h_to_h"), hidden, intermediate, false)?,
        })
    };
    Ok(Decoder {
        dims,
        rotary: Rotary { pairs: Pairs::Interleaved, dim: dims.head_dim / 2, theta: THETA },
        counts_prefix: false,
        embedding: from.matrix("transformer.embedding.word_embeddings.weight", vocab, hidden)?,
        layers: (0..dims.layers).map(layer).collect::<Result<_>>()?,
        norm: norm("transformer.encoder.final_layernorm.weight")?,
        head: from.matrix("transformer.output_layer.weight", vocab, hidden)?,
        device: from.device().clone(),
    })
}

/// The linear layers of a model of these dimensions, as [`super::Backbone::modules`] lists them.
pub fn modules(dims: &Dims) -> Vec<Module> {
    let (hidden, q, wide) = (dims.hidden, dims.q_width(), dims.intermediate);
    let layer = [
        ("self_attention.query_key_value", hidden, q + 2 * dims.kv_width()),
        ("self_attention.dense", q, hidden),
        ("mlp.dense_h_to_4h", hidden, 2 * wide),
        ("mlp.dense_4h_to_h", wide, hidden),
    ];
    let module =
        |i, (name, inputs, outputs)| Module { path: format!("transformer.encoder.layers.{i}.{name}"), inputs, outputs };
    (0..dims.layers).flat_map(|i| layer.map(|l| module(i, l))).collect()
}

/// What a configuration says of a model.
struct Architecture {
    dims: Dims,
    eps: f64,
}

/// Dimensions alone.
///
/// # Errors
/// If a key is missing, out of its range, or asks for something that isn't computed.
pub fn dims(config: &Config) -> Result<Dims> {
    Ok(read(config)?.dims)
}

/// Flags of the modelling code, what it takes for each where the configuration is silent, and the value that is computed
/// here.
const FLAGS: &[(&str, bool, bool)] = &[
    ("rmsnorm", true, true),
    ("post_layer_norm", true, true),
    ("multi_query_attention", false, true),
    ("original_rope", true, true),
    ("apply_residual_connection_post_layernorm", false, false),
    ("add_bias_linear", false, false),
    ("tie_word_embeddings", false, false),
];

/// Defaults are those of the published code.
fn read(config: &Config) -> Result<Architecture> {
    match config.text("model_type")? {
        "chatglm" => (),
        other => {
            return Err(config
                .wrong(format!("`model_type` is `{other}`, which isn't built like ChatGLM2"))
                .help("models of type chatglm are read by this family: ChatGLM2 and ChatGLM3"));
        }
    }
    for (name, default, supported) in FLAGS {
        let found = config.flag_or(name, *default)?;
        if found != *supported {
            return Err(config
                .wrong(format!("`{name}` is {found}; only {supported} is supported"))
                .help("ChatGLM2 and ChatGLM3 as published are supported; ChatGLM (the first) is another model"));
        }
    }
    // ChatGLM2's and ChatGLM3's long-context variants understand it differently.
    config.expect("rope_ratio", 1)?;
    // Quantised weights; a prefix that was trained with the model.
    config.expect("quantization_bit", 0)?;
    config.expect("pre_seq_len", 0)?;
    let heads = config.size("num_attention_heads", most::HEADS)?;
    let (kv_heads, head_dim) =
        (config.size("multi_query_group_num", most::HEADS)?, config.size("kv_channels", most::HEADS)?);
    if heads % kv_heads != 0 || head_dim % 4 != 0 {
        return Err(config.wrong(format!("{heads} heads of {head_dim} don't go with {kv_heads} groups of keys")));
    }
    let dims = Dims {
        vocab: config.size("padded_vocab_size", most::VOCABULARY)?,
        hidden: config.size("hidden_size", most::WIDTH)?,
        intermediate: config.size("ffn_hidden_size", most::WIDTH)?,
        layers: config.size("num_layers", most::LAYERS)?,
        heads,
        kv_heads,
        head_dim,
        max_positions: config.size("seq_length", most::POSITIONS)?,
        tied: false,
        qkv_bias: config.flag_or("add_qkv_bias", false)?,
        output_bias: false,
        mlp_bias: false,
    };
    config.expect("num_hidden_layers", dims.layers)?;
    Ok(Architecture { dims, eps: config.number_or("layernorm_epsilon", &EPSILON, 1e-5)? })
}
