//! BERT (Devlin et al. 2019) and what is built like it, such as MiniLM.

use std::sync::Arc;

use super::{
    backbone::{Dims, Module},
    encoder::{Encoder, Layer, Norm},
    linear::{Linear, Projection},
    weights::{
        config_bounds::{EPSILON, most},
        loader::Loader,
        model_config::Config,
    },
};
use crate::base::error::Result;

/// Keys of these models' `config.json` that don't change what is computed.
pub const HARMLESS_KEYS: &[&str] = &[
    // There is no output layer, and the head is our own.
    "tie_word_embeddings",
    "classifier_dropout",
    "sentence_transformers",
    "sbert_ce_default_activation_function",
    // Dropout inside the backbone, which is frozen.
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    // What TensorFlow's first files said of a pooler that the reference implementation never had, and of their language.
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "language",
    "name",
    // How TinyBERT was distilled.
    "cell",
    "structure",
    "pre_trained",
    "training",
];

/// Heads, in whose place there is one of our own, and the numbers from 0 on.
pub const HARMLESS_TENSORS: &[&str] =
    &["cls.*", "classifier.*", "qa_outputs.*", "embeddings.position_ids", "bert.embeddings.position_ids"];

/// What the encoder is called inside a model with a head. Adapters name layers so, however the weights were published.
const PREFIX: &str = "bert.";

/// Every tensor of the model, with its shape checked.
///
/// # Errors
/// If one is missing or has another shape, or the configuration isn't understood.
pub fn load(from: &Loader) -> Result<Encoder> {
    let Architecture { dims, eps, types } = read(from.config())?;
    let Dims { vocab, hidden, intermediate, .. } = dims;
    let prefix = if from.has(&format!("{PREFIX}embeddings.word_embeddings.weight"))? { PREFIX } else { "" };

    let norm = |path: &str| -> Result<Norm> {
        // The oldest files are named as in TensorFlow.
        let old = from.has(&format!("{prefix}{path}.LayerNorm.gamma"))?;
        let [weight, bias] = (if old { ["gamma", "beta"] } else { ["weight", "bias"] })
            .map(|name| from.vector(&format!("{prefix}{path}.LayerNorm.{name}"), hidden));
        Ok(Norm { weight: weight?, bias: bias?, eps })
    };
    let linear = |path: &str, outputs: usize, inputs: usize| -> Result<Linear> {
        Ok(Linear {
            weight: from.matrix(&format!("{prefix}{path}.weight"), outputs, inputs)?,
            bias: Some(from.vector(&format!("{prefix}{path}.bias"), outputs)?),
            path: format!("{PREFIX}{path}"),
        })
    };
    let one = |path: &str, outputs: usize, inputs: usize| -> Result<Arc<Projection>> {
        Ok(Arc::new(Projection::new(vec![linear(path, outputs, inputs)?])?))
    };
    let layer = |i: usize| -> Result<Layer> {
        let at = |name: &str| format!("encoder.layer.{i}.{name}");
        let part = |name: &str| linear(&at(&format!("attention.self.{name}")), hidden, hidden);
        Ok(Layer {
            norm: match i.checked_sub(1) {
                None => norm("embeddings")?,
                Some(before) => norm(&format!("encoder.layer.{before}.output"))?,
            },
            qkv: Arc::new(Projection::new(vec![part("query")?, part("key")?, part("value")?])?),
            output: one(&at("attention.output.dense"), hidden, hidden)?,
            mlp_norm: norm(&at("attention.output"))?,
            up: one(&at("intermediate.dense"), intermediate, hidden)?,
            down: one(&at("output.dense"), hidden, intermediate)?,
        })
    };
    let table = |name: &str, rows: usize| from.table(&format!("{prefix}embeddings.{name}.weight"), rows, hidden);
    let first_sentence = table("token_type_embeddings", types)?.narrow(0, 0, 1)?;
    Ok(Encoder {
        dims,
        words: from.matrix(&format!("{prefix}embeddings.word_embeddings.weight"), vocab, hidden)?,
        positions: table("position_embeddings", dims.max_positions)?.broadcast_add(&first_sentence)?,
        layers: (0..dims.layers).map(layer).collect::<Result<_>>()?,
        norm: norm(&format!("encoder.layer.{}.output", dims.layers - 1))?,
        pooler: one("pooler.dense", hidden, hidden)?,
        device: from.device().clone(),
    })
}

/// The linear layers of a model of these dimensions, as [`super::Backbone::modules`] lists them.
pub fn modules(dims: &Dims) -> Vec<Module> {
    let (hidden, wide) = (dims.hidden, dims.intermediate);
    let layer = [
        ("attention.self.query", hidden, hidden),
        ("attention.self.key", hidden, hidden),
        ("attention.self.value", hidden, hidden),
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", hidden, wide),
        ("output.dense", wide, hidden),
    ];
    let module = |path: String, inputs, outputs| Module { path: format!("{PREFIX}{path}"), inputs, outputs };
    (0..dims.layers)
        .flat_map(|i| layer.map(|(name, inputs, outputs)| module(format!("encoder.layer.{i}.{name}"), inputs, outputs)))
        .chain([module("pooler.dense".to_owned(), hidden, hidden)])
        .collect()
}

/// What a configuration says of a model.
struct Architecture {
    dims: Dims,
    eps: f64,
    /// Kinds of sentences.
    types: usize,
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
    match config.text("model_type")? {
        "bert" => (),
        other => {
            return Err(config
                .wrong(format!("`model_type` is `{other}`, which isn't built like BERT"))
                .help("models of type bert are read by this family"));
        }
    }
    config.expect("hidden_act", "gelu")?;
    config.expect("position_embedding_type", "absolute")?;
    config.expect("is_decoder", false)?;
    // Code of its own computes something of its own.
    config.expect("auto_map", serde_json::Value::Null)?;
    let (hidden, heads) = (config.size("hidden_size", most::WIDTH)?, config.size("num_attention_heads", most::HEADS)?);
    if hidden % heads != 0 {
        return Err(config.wrong(format!("a hidden size of {hidden} can't be shared out to {heads} heads")));
    }
    config.expect("emb_size", hidden)?;
    let dims = Dims {
        vocab: config.size("vocab_size", most::VOCABULARY)?,
        hidden,
        intermediate: config.size("intermediate_size", most::WIDTH)?,
        layers: config.size("num_hidden_layers", most::LAYERS)?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        max_positions: config.size("max_position_embeddings", most::POSITIONS)?,
        // There is no output layer.
        tied: true,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
    };
    Ok(Architecture {
        dims,
        eps: config.number_or("layer_norm_eps", &EPSILON, 1e-12)?,
        types: config.size_or("type_vocab_size", most::VOCABULARY, 2)?,
    })
}
