//! Llama and what is built like it: Qwen2 (with biases on queries, keys and values), SmolLM2, ...

use std::sync::Arc;

use super::{
    backbone::{Dims, Module},
    decoder::{Decoder, Layer, Norm},
    linear::{Linear, Projection},
    ops::rotary::{Pairs, Rotary},
    weights::{
        config_bounds::{EPSILON, THETA, most},
        loader::Loader,
        model_config::Config,
    },
};
use crate::base::error::Result;

/// Keys of these models' `config.json` that don't change what is computed.
pub const HARMLESS_KEYS: &[&str] = &[
    // Slices of a product that is the same in one piece.
    "pretraining_tp",
    // The first layer that a window would limit, where there was one.
    "max_window_layers",
    "is_decoder",
];

/// Tensors that the reference implementation doesn't read either: it computes the frequencies from the configuration.
pub const HARMLESS_TENSORS: &[&str] = &["*.rotary_emb.inv_freq"];

/// Every tensor of the model, with its shape checked.
///
/// # Errors
/// If one is missing or has another shape, or the configuration isn't understood.
pub fn load(from: &Loader) -> Result<Decoder> {
    let Architecture { dims, eps, theta } = read(from.config())?;
    let Dims { vocab, hidden, intermediate, head_dim, .. } = dims;

    let norm = |name: &str| -> Result<Norm> { Ok(Norm { weight: from.vector(name, hidden)?, eps }) };
    let linear = |path: String, outputs: usize, inputs: usize, bias: bool| -> Result<Linear> {
        Ok(Linear {
            weight: from.matrix(&format!("{path}.weight"), outputs, inputs)?,
            bias: if bias { Some(from.vector(&format!("{path}.bias"), outputs)?) } else { None },
            path,
        })
    };
    let one = |linear: Linear| -> Result<Arc<Projection>> { Ok(Arc::new(Projection::new(vec![linear])?)) };
    let layer = |i: usize| -> Result<Layer> {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        let input = |name: &str, outputs: usize| linear(at(name), outputs, hidden, dims.qkv_bias);
        let inner = |name: &str| linear(at(name), intermediate, hidden, dims.mlp_bias);
        Ok(Layer {
            attention_norm: norm(&at("input_layernorm.weight"))?,
            qkv: Arc::new(Projection::new(vec![
                input("self_attn.q_proj", dims.q_width())?,
                input("self_attn.k_proj", dims.kv_width())?,
                input("self_attn.v_proj", dims.kv_width())?,
            ])?),
            output: one(linear(at("self_attn.o_proj"), hidden, dims.q_width(), dims.output_bias)?)?,
            mlp_norm: norm(&at("post_attention_layernorm.weight"))?,
            gate_up: Arc::new(Projection::new(vec![inner("mlp.gate_proj")?, inner("mlp.up_proj")?])?),
            down: one(linear(at("mlp.down_proj"), hidden, intermediate, dims.mlp_bias)?)?,
        })
    };
    const EMBEDDING: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    let embedding = from.matrix(EMBEDDING, vocab, hidden)?;
    let head = if dims.tied {
        from.tied(HEAD, EMBEDDING)?;
        embedding.clone()
    } else {
        from.matrix(HEAD, vocab, hidden)?
    };
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

/// What a configuration says of a model.
struct Architecture {
    dims: Dims,
    eps: f64,
    theta: f64,
}

/// Dimensions alone.
///
/// # Errors
/// If a key is missing, out of its range, or asks for something that isn't computed.
pub fn dims(config: &Config) -> Result<Dims> {
    Ok(read(config)?.dims)
}

/// Defaults are the reference implementation's.
fn read(config: &Config) -> Result<Architecture> {
    let kind = config.text("model_type")?;
    if !["llama", "qwen2"].contains(&kind) {
        return Err(config
            .wrong(format!("`model_type` is `{kind}`, which isn't built like llama"))
            .help("models of type llama and qwen2 are read by this family"));
    }
    config.expect("hidden_act", "silu")?;
    // SmolLM2's files say so of themselves.
    config.expect("is_llama_config", true)?;
    config.expect("rope_interleaved", false)?;
    config.expect("use_mrope", false)?;
    // Code of its own computes something of its own.
    config.expect("auto_map", serde_json::Value::Null)?;
    let (hidden, heads) = (config.size("hidden_size", most::WIDTH)?, config.size("num_attention_heads", most::HEADS)?);
    let kv_heads = config.size_or("num_key_value_heads", most::HEADS, heads)?;
    let head_dim = config.optional_size("head_dim", most::HEADS)?;
    if head_dim.is_none() && hidden % heads != 0 {
        return Err(config.wrong(format!("`hidden_size`, {hidden}, can't be shared out to {heads} heads")));
    }
    let head_dim = head_dim.unwrap_or(hidden / heads);
    if heads % kv_heads != 0 || head_dim % 2 != 0 {
        return Err(config.wrong(format!("{heads} heads of {head_dim} don't go with {kv_heads} key/value heads")));
    }
    let layers = config.size("num_hidden_layers", most::LAYERS)?;
    let max_positions = config.size("max_position_embeddings", most::POSITIONS)?;
    check_windows(config, kind, max_positions)?;
    let bias = config.flag_or("attention_bias", kind == "qwen2")?;
    let dims = Dims {
        vocab: config.size("vocab_size", most::VOCABULARY)?,
        hidden,
        intermediate: config.size("intermediate_size", most::WIDTH)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        max_positions,
        tied: config.flag_or("tie_word_embeddings", false)?,
        qkv_bias: bias,
        output_bias: bias && kind == "llama",
        mlp_bias: config.flag_or("mlp_bias", false)?,
    };
    Ok(Architecture { dims, eps: config.number_or("rms_norm_eps", &EPSILON, 1e-6)?, theta: theta(config)? })
}

/// A window of attention that no text is longer than, or that isn't used, is none.
fn check_windows(config: &Config, kind: &str, max_positions: usize) -> Result<()> {
    config.expect_each("layer_types", "full_attention")?;
    let used = config.flag_or("use_sliding_window", kind != "qwen2")?;
    let window = config.optional_size("sliding_window", usize::MAX)?;
    let missing = kind == "qwen2" && window.is_none();
    if used && (missing || window.is_some_and(|window| window < max_positions)) {
        let window = window.map_or("of unknown size".to_owned(), |window| format!("of {window} tokens"));
        return Err(config.wrong(format!(
            "`sliding_window` is set (`use_sliding_window`): a window {window}; only full attention is supported"
        )));
    }
    Ok(())
}

/// The base of the rotary frequencies, which older files keep at the top and newer ones in `rope_parameters`.
fn theta(config: &Config) -> Result<f64> {
    let mut theta = config.optional_number("rope_theta", &THETA)?;
    config.expect("partial_rotary_factor", 1)?;
    for name in ["rope_parameters", "rope_scaling"] {
        let Some(table) = config.table(name)? else { continue };
        for kind in ["rope_type", "type"] {
            table.expect(kind, "default")?;
        }
        table.expect("partial_rotary_factor", 1)?;
        let inside = table.optional_number("rope_theta", &THETA)?;
        if let Some((a, b)) = theta.zip(inside).filter(|(a, b)| a != b) {
            return Err(config.wrong(format!("`rope_theta` is {a}, and {b} in `{name}`")));
        }
        theta = theta.or(inside);
        table.refuse_unread(&[])?;
    }
    Ok(theta.unwrap_or(10_000.0))
}
