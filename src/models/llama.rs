//! Llama and what is built like it: Qwen2 (with biases on queries, keys and values), SmolLM2, ...

use std::sync::Arc;

use candle_core::Device;

use super::{
    Decoder, Dims,
    decoder::{Layer, Norm},
    linear::{Linear, Projection},
    ops::rotary::{Pairs, Rotary},
    weights::{Weights, config::Config},
};
use crate::error::{At, Error, Result};

/// Reads dimensions from the weights' own configuration, then every tensor, and checks its shape.
pub fn load(weights: &Weights, device: &Device) -> Result<Decoder> {
    let config = weights.config();
    let (dims, tied) = dims(config).at(config.place())?;
    let eps = config.float("rms_norm_eps").at(config.place())?;
    let theta = theta(config).at(config.place())?;
    let Dims { vocab, hidden, intermediate, layers, heads, head_dim, .. } = dims;
    let kv = dims.kv_width();

    let norm = |name: String| -> Result<Norm> { Ok(Norm { weight: weights.tensor(&name, &[hidden], device)?, eps }) };
    let linear = |path: String, outputs: usize, inputs: usize| -> Result<Linear> {
        let weight = weights.tensor(&format!("{path}.weight"), &[outputs, inputs], device)?;
        let bias = format!("{path}.bias");
        let bias = if weights.has(&bias) { Some(weights.tensor(&bias, &[outputs], device)?) } else { None };
        Ok(Linear { path, weight, bias })
    };
    let layer = |i: usize| -> Result<Layer> {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        Ok(Layer {
            attention_norm: norm(at("input_layernorm.weight"))?,
            qkv: Arc::new(Projection::new(vec![
                linear(at("self_attn.q_proj"), heads * head_dim, hidden)?,
                linear(at("self_attn.k_proj"), kv, hidden)?,
                linear(at("self_attn.v_proj"), kv, hidden)?,
            ])?),
            output: Arc::new(Projection::new(vec![linear(at("self_attn.o_proj"), hidden, heads * head_dim)?])?),
            mlp_norm: norm(at("post_attention_layernorm.weight"))?,
            gate_up: Arc::new(Projection::new(vec![
                linear(at("mlp.gate_proj"), intermediate, hidden)?,
                linear(at("mlp.up_proj"), intermediate, hidden)?,
            ])?),
            down: Arc::new(Projection::new(vec![linear(at("mlp.down_proj"), hidden, intermediate)?])?),
        })
    };
    let embedding = weights.tensor("model.embed_tokens.weight", &[vocab, hidden], device)?;
    let head = if tied { embedding.clone() } else { weights.tensor("lm_head.weight", &[vocab, hidden], device)? };
    Ok(Decoder {
        dims,
        rotary: Rotary { pairs: Pairs::Halves, dim: head_dim, theta },
        embedding,
        layers: (0..layers).map(layer).collect::<Result<_>>()?,
        norm: norm("model.norm.weight".into())?,
        head,
        device: device.clone(),
    })
}

fn dims(config: &Config) -> Result<(Dims, bool)> {
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
    let dims = Dims {
        vocab: config.size("vocab_size")?,
        hidden,
        intermediate: config.size("intermediate_size")?,
        layers: config.size("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        max_positions: config.size("max_position_embeddings")?,
    };
    Ok((dims, config.flag_or("tie_word_embeddings", false)?))
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
