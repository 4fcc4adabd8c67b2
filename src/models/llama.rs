//! Llama and what is built like it: Qwen2 (with biases on queries, keys and values), SmolLM2, ...

use std::sync::Arc;

use super::{
    Decoder, Dims, Module,
    decoder::{Layer, Norm},
    linear::{Linear, Projection},
    ops::rotary::{Pairs, Rotary},
    weights::{Loader, config::Config},
};
use crate::error::{At, Error, Result};

/// Every tensor of the model, with its shape checked.
pub fn load(from: &Loader) -> Result<Decoder> {
    let config = from.config();
    let dims = dims(config)?;
    let eps = config.float("rms_norm_eps").at(config.place())?;
    let theta = theta(config).at(config.place())?;
    let Dims { vocab, hidden, intermediate, head_dim, .. } = dims;

    let norm = |name: &str| -> Result<Norm> { Ok(Norm { weight: from.vector(name, hidden)?, eps }) };
    let linear = |path: String, outputs: usize, inputs: usize| -> Result<Linear> {
        let bias = format!("{path}.bias");
        Ok(Linear {
            weight: from.matrix(&format!("{path}.weight"), outputs, inputs)?,
            bias: if from.has(&bias)? { Some(from.vector(&bias, outputs)?) } else { None },
            path,
        })
    };
    let layer = |i: usize| -> Result<Layer> {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        Ok(Layer {
            attention_norm: norm(&at("input_layernorm.weight"))?,
            qkv: Arc::new(Projection::new(vec![
                linear(at("self_attn.q_proj"), dims.q_width(), hidden)?,
                linear(at("self_attn.k_proj"), dims.kv_width(), hidden)?,
                linear(at("self_attn.v_proj"), dims.kv_width(), hidden)?,
            ])?),
            output: Arc::new(Projection::new(vec![linear(at("self_attn.o_proj"), hidden, dims.q_width())?])?),
            mlp_norm: norm(&at("post_attention_layernorm.weight"))?,
            gate_up: Arc::new(Projection::new(vec![
                linear(at("mlp.gate_proj"), intermediate, hidden)?,
                linear(at("mlp.up_proj"), intermediate, hidden)?,
            ])?),
            down: Arc::new(Projection::new(vec![linear(at("mlp.down_proj"), hidden, intermediate)?])?),
        })
    };
    let embedding = from.matrix("model.embed_tokens.weight", vocab, hidden)?;
    let head = if dims.tied { embedding.clone() } else { from.matrix("lm_head.weight", vocab, hidden)? };
    Ok(Decoder {
        dims,
        rotary: Rotary { pairs: Pairs::Halves, dim: head_dim, theta },
        counts_prefix: true,
        embedding,
        layers: (0..dims.layers).map(layer).collect::<Result<_>>()?,
        norm: norm("model.norm.weight")?,
        head,
        device: from.device().clone(),
    })
}

/// The linear layers of a model of these dimensions, as [`super::Backbone::modules`] lists them.
pub fn modules(dims: &Dims) -> Vec<Module> {
    let (hidden, q, kv, wide) = (dims.hidden, dims.q_width(), dims.kv_width(), dims.intermediate);
    let layer = [
        ("self_attn.q_proj", hidden, q),
        ("self_attn.k_proj", hidden, kv),
        ("self_attn.v_proj", hidden, kv),
        ("self_attn.o_proj", q, hidden),
        ("mlp.gate_proj", hidden, wide),
        ("mlp.up_proj", hidden, wide),
        ("mlp.down_proj", wide, hidden),
    ];
    let module = |i, (name, inputs, outputs)| Module { path: format!("model.layers.{i}.{name}"), inputs, outputs };
    (0..dims.layers).flat_map(|i| layer.map(|l| module(i, l))).collect()
}

/// Dimensions alone.
pub fn dims(config: &Config) -> Result<Dims> {
    read_dims(config).at(config.place())
}

fn read_dims(config: &Config) -> Result<Dims> {
    let family = config.text("model_type")?;
    if !["llama", "qwen2"].contains(&family) {
        return Err(Error::input(format!("`model_type` is `{family}`, which isn't built like llama"))
            .help("models of type llama and qwen2 are read by this family"));
    }
    match config.text_or("hidden_act", "silu")? {
        "silu" => (),
        other => return Err(Error::input(format!("`hidden_act` is `{other}`; only `silu` is supported"))),
    }
    if config.flag_or("use_sliding_window", false)? {
        return Err(Error::input("`use_sliding_window` is set; only full attention is supported"));
    }
    let (hidden, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let kv_heads = config.size_or("num_key_value_heads", heads)?;
    let head_dim = config.size_or("head_dim", hidden / heads)?;
    if heads % kv_heads != 0 || head_dim % 2 != 0 {
        return Err(Error::input(format!("{heads} heads of {head_dim} don't go with {kv_heads} key/value heads")));
    }
    Ok(Dims {
        vocab: config.size("vocab_size")?,
        hidden,
        intermediate: config.size("intermediate_size")?,
        layers: config.size("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        max_positions: config.size("max_position_embeddings")?,
        tied: config.flag_or("tie_word_embeddings", false)?,
        qkv_bias: family == "qwen2" || config.flag_or("attention_bias", false)?,
    })
}

/// The base of the rotary frequencies, which older files keep at the top and newer ones in `rope_parameters`.
fn theta(config: &Config) -> Result<f64> {
    for name in ["rope_parameters", "rope_scaling"] {
        let Some(table) = config.table(name) else { continue };
        let kind = table.get("rope_type").or_else(|| table.get("type")).and_then(|v| v.as_str()).unwrap_or("default");
        if kind != "default" {
            return Err(Error::input(format!(
                "`{name}` asks for `{kind}`; only the default rotary embedding is supported"
            )));
        }
        if let Some(theta) = table.get("rope_theta").and_then(serde_json::Value::as_f64) {
            return Ok(theta);
        }
    }
    config.float_or("rope_theta", 10_000.0)
}
