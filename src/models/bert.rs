//! BERT (Devlin et al. 2019) and what is built like it, such as MiniLM.

use std::sync::Arc;

use super::{
    Dims, Encoder,
    encoder::{Layer, Norm},
    linear::{Linear, Projection},
    weights::{Loader, config::Config},
};
use crate::error::{At, Error, Result};

/// What the encoder is called inside a model with a head. Adapters name layers so, however the weights were published.
const PREFIX: &str = "bert.";

/// Every tensor of the model, with its shape checked.
pub fn load(from: &Loader) -> Result<Encoder> {
    let config = from.config();
    let dims = dims(config)?;
    let eps = config.float_or("layer_norm_eps", 1e-12).at(config.place())?;
    let types = config.size_or("type_vocab_size", 2).at(config.place())?;
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

/// Dimensions alone.
pub fn dims(config: &Config) -> Result<Dims> {
    read_dims(config).at(config.place())
}

fn read_dims(config: &Config) -> Result<Dims> {
    match config.text("model_type")? {
        "bert" => (),
        other => {
            return Err(Error::input(format!("`model_type` is `{other}`, which isn't built like BERT"))
                .help("models of type bert are read by this family"));
        }
    }
    for (key, supported) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
        match config.text_or(key, supported)? {
            found if found == supported => (),
            other => return Err(Error::input(format!("`{key}` is `{other}`; only `{supported}` is supported"))),
        }
    }
    if config.flag_or("is_decoder", false)? {
        return Err(Error::input("`is_decoder` is set; only encoders are supported"));
    }
    let (hidden, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    if hidden % heads != 0 {
        return Err(Error::input(format!("a hidden size of {hidden} can't be shared out to {heads} heads")));
    }
    Ok(Dims {
        vocab: config.size("vocab_size")?,
        hidden,
        intermediate: config.size("intermediate_size")?,
        layers: config.size("num_hidden_layers")?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        max_positions: config.size("max_position_embeddings")?,
        // There is no output layer.
        tied: true,
        qkv_bias: true,
    })
}
