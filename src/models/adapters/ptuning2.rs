//! P-Tuning v2 (Liu et al. 2021), also known as prefix tuning (Li & Liang 2021): trained keys and values in every layer.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result as Candle, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    adapter::{Adapter, SavedAdapter},
    adapter_method::{AdapterMethod, Wrong},
    peft::{self, CONFIG_FILE, Keys, Tensors},
    trained_linear::linear,
};
use crate::{
    base::error::{At, Error, Result},
    models::{
        Backbone, BackboneShape, Dims,
        autograd::{Backward, Input, record},
        ops::rotary::{Rotary, rotate, rotate_back},
        seeded,
    },
};

/// Keys and values before those of every layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixOptions {
    /// Keys and values before every layer's own (default 32).
    pub virtual_tokens: usize,
    /// Width of a hidden layer through which the keys and values are computed; left out, they are trained themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// Where keys and values start (default `normal`).
    pub init: PrefixInit,
    /// With `init = "normal"`: standard deviation (default 1, as the reference's embedding starts).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_std: Option<f64>,
    /// With `init = "text"`: the text whose keys and values are the start, repeated or cut to `virtual_tokens`; left out, it
    /// is what the training prompts have in common (chat template and instruction).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_text: Option<String>,
}

/// What the prefix is before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrefixInit {
    /// Normally distributed numbers.
    Normal,
    /// The keys and values that the frozen model computes for a text (Li & Liang 2021 found activations of real words to
    /// help where data are few).
    Text,
}

impl Default for PrefixOptions {
    fn default() -> Self {
        Self { virtual_tokens: 32, projection: None, init: PrefixInit::Normal, init_std: None, init_text: None }
    }
}

impl AdapterMethod for PrefixOptions {
    const KIND: &'static str = "ptuning2";
    const TITLE: &'static str = "P-Tuning v2";
    const PEFT_TYPE: Option<&'static str> = Some("PREFIX_TUNING");
    const FACTS: &'static [&'static str] = &["virtual_tokens"];

    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless_positive("virtual_tokens", self.virtual_tokens)?;
        Wrong::unless_positive("projection", self.projection.unwrap_or(1))?;
        let wrong = |key, message: &str| Err(Wrong::new(key, message));
        match self.init {
            PrefixInit::Normal if self.init_text.is_some() => {
                wrong("init_text", "`init_text` says something only with `init = \"text\"`")
            }
            PrefixInit::Text if self.init_std.is_some() => {
                wrong("init_std", "`init_std` says something only with `init = \"normal\"`")
            }
            PrefixInit::Text if self.projection.is_some() => {
                wrong("init", "a prefix with `projection` can't start from a text: leave one of the two out")
            }
            _ => Ok(()),
        }
    }

    fn complete(&mut self, _: &[&str]) {
        match self.init {
            PrefixInit::Normal => self.init_std = Some(self.std()),
            PrefixInit::Text => self.init_text = Some(self.init_text.take().unwrap_or_default()),
        }
    }

    fn init_text(&self) -> Option<&str> {
        (self.init == PrefixInit::Text).then(|| self.init_text.as_deref().unwrap_or_default())
    }

    fn create(&self, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(PrefixTuning::new(self, backbone, seed, init_ids)?))
    }

    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(PrefixTuning::read(keys, tensors, backbone)?))
    }

    fn trainable(&self, backbone: BackboneShape) -> u64 {
        let width = width(*backbone.dims) as u64;
        let inner = |hidden: usize| 2 * width * hidden as u64 + hidden as u64 + width;
        self.virtual_tokens as u64 * width + self.projection.map_or(0, inner)
    }

    /// The table, and each layer's part of it.
    fn applied(&self, backbone: BackboneShape) -> u64 {
        (2 * self.virtual_tokens * width(*backbone.dims)) as u64
    }

    fn size(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("virtual_tokens", &mut self.virtual_tokens))
    }
}

impl PrefixOptions {
    fn std(&self) -> f64 {
        self.init_std.unwrap_or(1.0)
    }
}

/// One trained row of keys and values per virtual token.
#[derive(Debug, Clone)]
pub struct PrefixTuning {
    dims: Dims,
    /// See [`Backbone::counted_prefix`].
    counted: Option<Rotary>,
    encoder: Encoder,
}

/// Where the table `[virtual_tokens, layers * 2 * kv_width]` comes from, as PEFT saves it; its columns are layer, then keys
/// and values, then head, then place in the head. Where PEFT counts the prefix as positions, the table's keys are ahead of
/// ours by as many positions as it has rows.
#[derive(Debug, Clone)]
enum Encoder {
    Table(Var),
    /// `tanh(embedding W1^T + b1) W2^T + b2`
    Projected {
        embedding: Var,
        weights: [Var; 2],
        biases: [Var; 2],
    },
}

/// PEFT's name for [`Encoder::Table`].
const TABLE: &str = "prompt_embeddings";

fn width(dims: Dims) -> usize {
    dims.layers * 2 * dims.kv_width()
}

impl PrefixTuning {
    /// `init_ids` are the tokens of [`PrefixOptions::init_text`].
    fn new(options: &PrefixOptions, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Self> {
        let (dims, device) = (backbone.dims(), backbone.device());
        let (rows, width) = (options.virtual_tokens, width(dims));
        let table = match (options.init_text(), init_ids) {
            (None, _) => {
                let numbers = seeded::normal(seed, "prefix_encoder.embedding", rows * width, options.std() as f32);
                Tensor::from_vec(numbers, (rows, width), device)?
            }
            (Some(_), Some(ids)) if !ids.is_empty() => from_text(backbone, ids, rows)?,
            (Some(text), _) => {
                return Err(Error::input(format!("the text that the prefix starts from has no tokens: `{text}`")));
            }
        };
        let encoder = match options.projection {
            None => Encoder::Table(Var::from_tensor(&table)?),
            Some(hidden) => {
                let linear = |name: &str, outputs: usize, inputs: usize| -> Result<(Var, Var)> {
                    let bound = 1.0 / (inputs as f32).sqrt();
                    let weight = seeded::uniform(seed, &format!("{name}.weight"), outputs * inputs, bound);
                    let bias = seeded::uniform(seed, &format!("{name}.bias"), outputs, bound);
                    Ok((Var::from_vec(weight, (outputs, inputs), device)?, Var::from_vec(bias, outputs, device)?))
                };
                let (first, second) = (
                    linear("prefix_encoder.trans.0", hidden, width)?,
                    linear("prefix_encoder.trans.2", width, hidden)?,
                );
                Encoder::Projected {
                    embedding: Var::from_tensor(&table)?,
                    weights: [first.0, second.0],
                    biases: [first.1, second.1],
                }
            }
        };
        Ok(Self { dims, counted: backbone.counted_prefix(), encoder })
    }

    /// From PEFT's files. With a projection, too, PEFT saves the table that it computes.
    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Self> {
        let dims = backbone.dims();
        let rows = keys.take("num_virtual_tokens", "a number of tokens")?;
        let rows: usize = rows.ok_or_else(|| Error::input("`num_virtual_tokens` is missing")).at(CONFIG_FILE)?;
        let mut size = |key: &str, ours: [usize; 2]| -> Result<Option<usize>> {
            let stated = keys.take::<usize>(key, "a whole number")?;
            match stated.filter(|n| !ours.contains(n)) {
                None => Ok(stated),
                Some(theirs) => {
                    Err(Error::input(format!("`{key}` is {theirs}, and the backbone's prefixes have {}", ours[0]))
                        .help("the adapter was trained for another backbone"))
                    .at(CONFIG_FILE)
                }
            }
        };
        size("num_layers", [dims.layers; 2])?;
        size("num_transformer_submodules", [1; 2])?;
        // Where several heads share keys and values, PEFT derives their width from that of all heads, too.
        let width = size("token_dim", [dims.kv_width(), dims.q_width()])?;
        let heads = size("num_attention_heads", [dims.kv_heads, dims.heads])?;
        if let Some((width, heads)) = width.zip(heads).filter(|(width, heads)| *width != heads * dims.head_dim) {
            return Err(Error::input(format!(
                "`token_dim` {width} and `num_attention_heads` {heads} don't go with heads of {}",
                dims.head_dim
            ))
            .help("the adapter was trained for another backbone"))
            .at(CONFIG_FILE);
        }
        // How it was trained.
        keys.skip(&["encoder_hidden_size", "init_weights", "prefix_projection"]);
        if rows == 0 {
            return Err(Error::input("`num_virtual_tokens` is 0")).at(CONFIG_FILE);
        }
        Self::from_table(tensors.take(TABLE, &[rows, self::width(dims)])?, backbone)
    }

    fn from_table(table: Tensor, backbone: &dyn Backbone) -> Result<Self> {
        let encoder = Encoder::Table(Var::from_tensor(&table)?);
        Ok(Self { dims: backbone.dims(), counted: backbone.counted_prefix(), encoder })
    }

    /// Keys and values of all layers: `[virtual_tokens, layers * 2 * kv_width]`.
    fn table(&self) -> Result<Tensor> {
        Ok(match &self.encoder {
            Encoder::Table(table) => table.as_tensor().clone(),
            Encoder::Projected { embedding, weights, biases } => {
                let hidden = linear(embedding, &weights[0], &biases[0])?.tanh()?;
                linear(&hidden, &weights[1], &biases[1])?
            }
        })
    }
}

/// The frozen model's own keys and values for a text, as a table.
fn from_text(backbone: &dyn Backbone, ids: &[u32], rows: usize) -> Result<Tensor> {
    let ids: Vec<u32> = ids.iter().copied().cycle().take(rows).collect();
    let mut columns = Vec::new();
    for (keys, values) in backbone.keys_values(&ids)? {
        columns.extend([keys.flatten_from(1)?, values.flatten_from(1)?]);
    }
    let table = Tensor::cat(&columns, 1)?;
    Ok(match backbone.counted_prefix() {
        Some(rotary) => Turn { rotary, dims: backbone.dims() }.ahead(&table)?,
        None => table,
    })
}

impl Adapter for PrefixTuning {
    fn parameters(&self) -> Vec<(String, Var)> {
        match &self.encoder {
            Encoder::Table(table) => vec![(TABLE.to_owned(), table.clone())],
            Encoder::Projected { embedding, weights, biases } => {
                let named = |name: &str, var: &Var| (format!("prefix_encoder.{name}"), var.clone());
                vec![
                    named("embedding.weight", embedding),
                    named("trans.0.weight", &weights[0]),
                    named("trans.0.bias", &biases[0]),
                    named("trans.2.weight", &weights[1]),
                    named("trans.2.bias", &biases[1]),
                ]
            }
        }
    }

    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        let mut table = self.table()?;
        if let Some(rotary) = self.counted {
            let turn = Turn { rotary, dims: self.dims };
            table = record(&[&table], turn.back(&table)?, turn)?;
        }
        let (layers, rows, kv) = (self.dims.layers, table.dim(0)?, self.dims.kv_width());
        let each =
            table.reshape((rows, 2 * layers, kv))?.transpose(0, 1)?.contiguous()?.reshape((layers, 2, rows, kv))?;
        let gradients = Arc::new(Mutex::new(vec![None; layers]));
        let part = |layer: usize| {
            let part = each.detach().get(layer)?.force_contiguous()?;
            Ok(record(&[&each], part, Part { layer, gradients: gradients.clone() })?)
        };
        (0..layers).map(part).collect::<Result<_>>().map(Some)
    }

    fn method(&self) -> &'static str {
        PrefixOptions::KIND
    }

    fn peft_type(&self) -> Option<&'static str> {
        PrefixOptions::PEFT_TYPE
    }

    fn wraps_no_layer(&self) -> bool {
        true
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        let rows = match &self.encoder {
            Encoder::Table(table) => table,
            Encoder::Projected { embedding, .. } => embedding,
        };
        vec![("virtual_tokens", json!(rows.dims()[0]))]
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let table = self.table()?.detach();
        let config = peft::pretty(json!({
            "peft_type": PrefixOptions::PEFT_TYPE,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "inference_mode": true,
            "num_virtual_tokens": table.dim(0)?,
            "num_layers": self.dims.layers,
            // PEFT counts the heads that keys and values have.
            "num_attention_heads": self.dims.kv_heads,
            "token_dim": self.dims.kv_width(),
            "num_transformer_submodules": 1,
            "encoder_hidden_size": self.dims.kv_width(),
            "prefix_projection": false,
        }))?;
        Ok(SavedAdapter { config, weights: peft::weights(&[(TABLE.to_owned(), table)].into())? })
    }
}

/// Turns a table's keys by as many positions as it has rows. Attention depends on distances alone: if the tokens' positions
/// move along, it stays the same.
struct Turn {
    rotary: Rotary,
    dims: Dims,
}

type Rotate = fn(&Tensor, &Tensor, Rotary, usize, usize) -> Candle<()>;

impl Turn {
    fn ahead(&self, table: &Tensor) -> Candle<Tensor> {
        self.apply(table, rotate)
    }

    fn back(&self, table: &Tensor) -> Candle<Tensor> {
        self.apply(table, rotate_back)
    }

    fn apply(&self, table: &Tensor, rotate: Rotate) -> Candle<Tensor> {
        let Self { rotary, dims } = self;
        let rows = table.dim(0)?;
        let each = table.detach().force_contiguous()?.reshape((rows * dims.layers, 2 * dims.kv_width()))?;
        let angles = rotary.table(&vec![rows as u32; rows * dims.layers], table.device())?;
        rotate(&each, &angles, *rotary, dims.kv_heads, dims.head_dim)?;
        each.reshape(table.shape())
    }
}

impl Backward for Turn {
    fn name(&self) -> &'static str {
        "prefix-turn"
    }

    /// Of turning back.
    fn backward(&self, _: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.ahead(grad)?)])
    }
}

/// One layer's part of `[layers, 2, virtual_tokens, kv_width]`. The part whose gradient comes last puts those of all together:
/// otherwise a gradient of the whole would be added up for each of them.
struct Part {
    layer: usize,
    gradients: Arc<Mutex<Vec<Option<Tensor>>>>,
}

impl Backward for Part {
    fn name(&self) -> &'static str {
        "prefix-part"
    }

    fn backward(&self, _: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        gradients[self.layer] = Some(grad.clone());
        let all: Option<Vec<&Tensor>> = gradients.iter().map(Option::as_ref).collect();
        Ok(vec![all.map(|all| Tensor::stack(&all, 0)).transpose()?])
    }
}
