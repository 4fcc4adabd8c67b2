//! ChatGLM2 and ChatGLM3, as THUDM's modelling code computes them.
//!
//! Queries, keys and values are one linear layer with a bias, gate and up another; half of each head is rotated, in
//! interleaved pairs. (The reference divides attention scores by the layer's number and multiplies them by it again, against
//! overflow in half precision: ours are f32 and need neither.)

use std::sync::Arc;

use super::{
    Decoder, Dims, Module,
    decoder::{Layer, Norm},
    linear::{Linear, Projection},
    ops::rotary::{Pairs, Rotary},
    weights::{Loader, config::Config},
};
use crate::error::{At, Error, Result};

/// Base of the rotary frequencies.
const THETA: f64 = 10_000.0;

/// Every tensor of the model, with its shape checked.
pub fn load(from: &Loader) -> Result<Decoder> {
    let config = from.config();
    let dims = dims(config)?;
    let eps = config.float("layernorm_epsilon").at(config.place())?;
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

/// Dimensions alone.
pub fn dims(config: &Config) -> Result<Dims> {
    read_dims(config).at(config.place())
}

/// Flags of the modelling code, what it takes for each where the configuration is silent, and the value that is computed here.
const FLAGS: &[(&str, bool, bool)] = &[
    ("rmsnorm", true, true),
    ("post_layer_norm", true, true),
    ("multi_query_attention", false, true),
    ("original_rope", true, true),
    ("apply_residual_connection_post_layernorm", false, false),
    ("add_bias_linear", false, false),
    ("tie_word_embeddings", false, false),
];

fn read_dims(config: &Config) -> Result<Dims> {
    match config.text("model_type")? {
        "chatglm" => (),
        other => {
            return Err(Error::input(format!("`model_type` is `{other}`, which isn't built like ChatGLM2"))
                .help("models of type chatglm are read by this family: ChatGLM2 and ChatGLM3"));
        }
    }
    for (name, default, supported) in FLAGS {
        let found = config.flag_or(name, *default)?;
        if found != *supported {
            return Err(Error::input(format!("`{name}` is {found}; only {supported} is supported"))
                .help("ChatGLM2 and ChatGLM3 as published are supported; ChatGLM (the first) is another model"));
        }
    }
    if config.float_or("rope_ratio", 1.0)? != 1.0 {
        return Err(Error::input("`rope_ratio` isn't 1").help(
            "ChatGLM2's and ChatGLM3's long-context variants understand it differently, and neither is supported",
        ));
    }
    if config.float_or("quantization_bit", 0.0)? != 0.0 {
        return Err(Error::input("`quantization_bit` is set: the weights are quantised")
            .help("use the files with weights in half precision"));
    }
    let heads = config.size("num_attention_heads")?;
    let (kv_heads, head_dim) = (config.size("multi_query_group_num")?, config.size("kv_channels")?);
    if heads % kv_heads != 0 || head_dim % 4 != 0 {
        return Err(Error::input(format!("{heads} heads of {head_dim} don't go with {kv_heads} groups of keys")));
    }
    Ok(Dims {
        vocab: config.size("padded_vocab_size")?,
        hidden: config.size("hidden_size")?,
        intermediate: config.size("ffn_hidden_size")?,
        layers: config.size("num_layers")?,
        heads,
        kv_heads,
        head_dim,
        max_positions: config.size("seq_length")?,
        tied: false,
        qkv_bias: config.flag_or("add_qkv_bias", false)?,
    })
}
