//! GGUF's metadata under the names of a `config.json`.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use crate::{
    base::{
        error::{Error, Result},
        gguf_header::{self, Value},
    },
    models::weights::{
        config_bounds::{EPSILON, THETA, most},
        harmless,
        model_config::{Config, advised},
    },
};

/// Architectures whose tensors are read.
const ARCHITECTURES: [&str; 2] = ["llama", "qwen2"];

/// What the tensors of a file say of the model.
pub struct Tensors {
    /// Rows of the embedding.
    pub vocab: Option<usize>,
    pub head: bool,
    /// Biases of attention, and of the perceptron.
    pub biases: (bool, bool),
}

/// What the file `name` says. Every key is understood, or harmless, or refused by its name.
///
/// # Errors
/// If a key isn't understood.
pub fn config(name: &str, metadata: &HashMap<String, Value>, tensors: &Tensors) -> Result<Config> {
    advised(read(name, metadata, tensors))
}

fn read(name: &str, metadata: &HashMap<String, Value>, tensors: &Tensors) -> Result<Config> {
    let about_the_model = metadata.iter().filter(|(key, _)| !key.starts_with("tokenizer."));
    let meta = Config::new(name, about_the_model.map(|(key, value)| (key.clone(), as_json(value))).collect());
    let architecture = meta.text("general.architecture")?;
    if !ARCHITECTURES.contains(&architecture) {
        return Err(meta
            .wrong(format!("`general.architecture` is `{architecture}`, which isn't read from GGUF files"))
            .help(format!("{} are; use the model's safetensors", ARCHITECTURES.join(" and "))));
    }
    let at = |key: &str| format!("{architecture}.{key}");

    meta.expect("general.type", "model")?;
    meta.expect("general.quantization_version", 2)?;
    // How many files the model is cut into.
    meta.expect_one_of("split.count", &[json!(1), json!(0)])?;
    let hidden = meta.size(&at("embedding_length"), most::WIDTH)?;
    let heads = meta.size(&at("attention.head_count"), most::HEADS)?;
    let positions = meta.size(&at("context_length"), most::POSITIONS)?;
    let head_dim = meta.optional_size(&at("attention.key_length"), most::HEADS)?;
    if head_dim.is_none() && hidden % heads != 0 {
        return Err(meta.wrong(format!("a hidden size of {hidden} can't be shared out to {heads} heads")));
    }
    let head_dim = head_dim.unwrap_or(hidden / heads);
    check_alike(&meta, &at, head_dim, positions)?;
    let eps = meta.number(&at("attention.layer_norm_rms_epsilon"), &EPSILON)?;
    let values = json!({
        "model_type": architecture,
        "vocab_size": tensors.vocab,
        "hidden_size": hidden,
        "intermediate_size": meta.size(&at("feed_forward_length"), most::WIDTH)?,
        "num_hidden_layers": meta.size(&at("block_count"), most::LAYERS)?,
        "num_attention_heads": heads,
        "num_key_value_heads": meta.size_or(&at("attention.head_count_kv"), most::HEADS, heads)?,
        "head_dim": head_dim,
        "max_position_embeddings": positions,
        // Stored as f32: 1e-5 should not become 9.999999747378752e-6.
        "rms_norm_eps": shortest(eps),
        "rope_theta": meta.number_or(&at("rope.freq_base"), &THETA, 10_000.0)?,
        "tie_word_embeddings": !tensors.head,
        "attention_bias": tensors.biases.0,
        "mlp_bias": tensors.biases.1,
    });
    // What is left unread: the embedding says how many rows it has.
    meta.refuse_unread(&[harmless::GGUF, &[&at("vocab_size")]])?;
    let values = if let Json::Object(values) = values { values } else { Map::new() };
    Ok(Config::new(name, values))
}

/// Keys that ask for what is computed anyway, or for something else.
fn check_alike(meta: &Config, at: &impl Fn(&str) -> String, head_dim: usize, positions: usize) -> Result<()> {
    check_rotary(meta, at)?;
    meta.expect(&at("rope.dimension_count"), head_dim)?;
    meta.expect(&at("attention.value_length"), head_dim)?;
    meta.expect(&at("attention.causal"), true)?;
    meta.expect(&at("tensor_data_layout"), "Meta AI original pth")?;
    for factor in ["logit_scale", "residual_scale", "embedding_scale"] {
        meta.expect(&at(factor), 1)?;
    }
    for none in ["expert_count", "expert_used_count", "pooling_type"] {
        meta.expect(&at(none), 0)?;
    }
    let usual = 1.0 / (head_dim as f64).sqrt();
    let scale = meta.optional_number(&at("attention.scale"), &(0.0..=1e6))?;
    if scale.is_some_and(|scale| scale != 0.0 && (scale / usual - 1.0).abs() > 1e-6) {
        return Err(unlike(meta, &at("attention.scale"), &format!("1/sqrt({head_dim})")));
    }
    let window = meta.optional_number(&at("attention.sliding_window"), &(0.0..=f64::from(u32::MAX)))?;
    if window.is_some_and(|window| window != 0.0 && window < positions as f64) {
        return Err(unlike(meta, &at("attention.sliding_window"), "a window over the whole context"));
    }
    Ok(())
}

/// Frequencies that nothing scales. Where no kind is named, the format means a linear one.
fn check_rotary(meta: &Config, at: &impl Fn(&str) -> String) -> Result<()> {
    let kind = at("rope.scaling.type");
    let scaled = meta.optional_text(&kind)? != Some("none");
    meta.expect_one_of(&kind, &["none".into(), "linear".into()])?;
    for factor in ["rope.scaling.factor", "rope.scale_linear"].map(at) {
        let found = meta.optional_number(&factor, &(0.0..=f64::MAX))?;
        if scaled && found.is_some_and(|factor| factor != 0.0 && factor != 1.0) {
            return Err(unlike(meta, &factor, "1"));
        }
    }
    meta.expect(&at("rope.scaling.attn_factor"), 1)?;
    // Of other kinds than these two.
    for key in ["rope.scaling.original_context_length", "rope.scaling.finetuned"] {
        meta.ignore(&at(key));
    }
    Ok(())
}

fn unlike(meta: &Config, key: &str, supported: &str) -> Error {
    meta.wrong(format!("`{key}` isn't {supported}, and nothing else is supported"))
}

/// What isn't a number becomes its name, so that it isn't taken for a missing value.
fn as_json(value: &Value) -> Json {
    let float = |x: f64| if x.is_finite() { json!(x) } else { json!(x.to_string()) };
    match value {
        Value::F32(x) => float(f64::from(*x)),
        Value::F64(x) => float(*x),
        Value::Bool(flag) => json!(flag),
        Value::String(text) => json!(text),
        Value::Array(items) => items.iter().map(as_json).collect(),
        Value::U64(n) => json!(n),
        other => json!(gguf_header::whole(other).and_then(|n| i64::try_from(n).ok())),
    }
}

/// The number that the shortest decimal of an f32 stands for.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What llama.cpp's converter writes of a small model, and keys that are found in published files.
    fn metadata() -> HashMap<String, Value> {
        let text = |text: &str| Value::String(text.to_owned());
        [
            ("general.architecture", text("llama")),
            ("general.type", text("model")),
            ("general.name", text("Tiny")),
            ("general.license.link", text("x")),
            ("general.base_model.0.name", text("x")),
            ("general.file_type", Value::U32(3)),
            ("general.quantization_version", Value::U32(2)),
            ("general.tags", Value::Array(vec![text("x")])),
            ("quantize.imatrix.chunks_count", Value::I32(7)),
            ("mradermacher.quantized_by", text("x")),
            ("tokenizer.ggml.tokens", Value::Array(vec![text("x")])),
            ("split.count", Value::U16(1)),
            ("split.no", Value::U16(0)),
            ("llama.vocab_size", Value::U32(10)),
            ("llama.embedding_length", Value::U32(64)),
            ("llama.feed_forward_length", Value::U32(112)),
            ("llama.block_count", Value::U32(3)),
            ("llama.context_length", Value::U32(128)),
            ("llama.attention.head_count", Value::U32(4)),
            ("llama.attention.head_count_kv", Value::U32(2)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32(16)),
            ("llama.rope.freq_base", Value::F32(500_000.0)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    fn changed(change: &[(&str, Value)]) -> Result<Config> {
        let mut metadata = metadata();
        metadata.extend(change.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        config("m.gguf", &metadata, &Tensors { vocab: Some(10), head: false, biases: (false, false) })
    }

    #[test]
    fn published_keys_are_read() {
        let config = changed(&[]).unwrap();
        assert_eq!(config.number("rms_norm_eps", &EPSILON).unwrap(), 1e-5);
        assert_eq!(config.size("head_dim", 100).unwrap(), 16);
        assert!(config.flag_or("tie_word_embeddings", false).unwrap());
    }

    #[test]
    fn values_that_change_nothing_are_accepted() {
        let text = |text: &str| Value::String(text.to_owned());
        for change in [
            &[("llama.rope.scaling.type", text("none")), ("llama.rope.scaling.factor", Value::F32(8.0))][..],
            &[("llama.rope.scaling.type", text("linear")), ("llama.rope.scaling.factor", Value::F32(1.0))],
            &[("llama.rope.scale_linear", Value::F32(1.0))],
            &[("llama.attention.scale", Value::F32(0.25))],
            &[("llama.logit_scale", Value::F32(1.0))],
            &[("llama.expert_count", Value::U32(0))],
            &[("llama.attention.sliding_window", Value::U32(128))],
            &[("llama.attention.key_length", Value::U32(16)), ("llama.attention.value_length", Value::U32(16))],
            &[("llama.tensor_data_layout", text("Meta AI original pth"))],
        ] {
            if let Err(e) = changed(change) {
                panic!("{change:?}: {e}");
            }
        }
    }

    #[test]
    fn what_changes_the_model_or_is_not_known_is_refused_by_name() {
        let text = |text: &str| Value::String(text.to_owned());
        for (key, value) in [
            ("llama.rope.scaling.type", text("yarn")),
            ("llama.rope.scaling.factor", Value::F32(8.0)),
            ("llama.rope.scale_linear", Value::F32(4.0)),
            ("llama.rope.scaling.attn_factor", Value::F32(0.5)),
            ("llama.rope.scaling.yarn_log_multiplier", Value::F32(0.1)),
            ("llama.rope.dimension_count", Value::U32(8)),
            ("llama.rope.dimension_sections", Value::Array(vec![Value::I32(8)])),
            ("llama.rope.freq_base", Value::F32(f32::NAN)),
            ("llama.rope.freq_base", Value::F32(0.0)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::INFINITY)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(0.0)),
            ("llama.attention.scale", Value::F32(0.5)),
            ("llama.attention.sliding_window", Value::U32(64)),
            ("llama.attention.causal", Value::Bool(false)),
            ("llama.attention.value_length", Value::U32(8)),
            ("llama.attention.head_count_kv", Value::Array(vec![Value::U32(2)])),
            ("llama.attention.head_count", Value::I32(-4)),
            ("llama.attention.head_count", Value::U32(0)),
            ("llama.logit_scale", Value::F32(0.0625)),
            ("llama.expert_count", Value::U32(8)),
            ("llama.block_count", Value::U32(u32::MAX)),
            ("llama.pooling_type", Value::U32(1)),
            ("llama.attention.clamp_kqv", Value::F32(8.0)),
            ("split.count", Value::U16(2)),
            ("general.type", text("adapter")),
            ("general.quantization_version", Value::U32(1)),
            ("training.type", text("finetune_lora")),
            ("adapter.type", text("lora")),
            ("qwen2.attention.scale", Value::F32(0.25)),
        ] {
            let e = changed(&[(key, value)]).unwrap_err();
            assert!(e.message.contains(key) && e.message.contains("m.gguf"), "{key}: {e}");
        }
        let e = changed(&[("general.architecture", text("gemma3"))]).unwrap_err();
        assert!(e.message.contains("`gemma3`") && e.help.is_some(), "{e}");
    }
}
