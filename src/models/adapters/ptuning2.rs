//! P-Tuning v2 (Liu et al. 2021), also known as prefix tuning (Li & Liang 2021): trained keys and values in every layer.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result as Candle, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Adapter, CONFIG_FILE, SavedAdapter,
    peft::{self, Keys, Tensors},
};
use crate::{
    base::error::{At, Error, Result},
    models::{
        Backbone, Dims,
        autograd::{Backward, Input, record},
        ops::{
            gemm,
            rotary::{Rotary, rotate, rotate_back},
        },
        seeded,
    },
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct PrefixTuningSpec {
    /// Length of the prefix.
    #[schemars(range(min = 1))]
    pub virtual_tokens: usize,
    /// Hidden width of a two-layer perceptron that the prefix is computed by; without it, the keys and values themselves
    /// are trained.
    #[serde(default)]
    pub projection: Option<usize>,
    #[serde(default)]
    pub init: PrefixInit,
}

/// What the prefix is before training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "from", rename_all = "snake_case")]
pub enum PrefixInit {
    /// Normally distributed numbers.
    Normal { std: f64 },
    /// The keys and values that the frozen model computes for a text, repeated or cut to the prefix's length (Li & Liang
    /// 2021 found activations of real words to help where data are few).
    Text { text: String },
}

impl Default for PrefixInit {
    /// As the reference's embedding starts.
    fn default() -> Self {
        Self::Normal { std: 1.0 }
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

/// `peft_type` of a prefix.
pub(super) const PEFT_TYPE: &str = "PREFIX_TUNING";

/// PEFT's name for [`Encoder::Table`].
const TABLE: &str = "prompt_embeddings";

fn width(dims: Dims) -> usize {
    dims.layers * 2 * dims.kv_width()
}

impl PrefixTuning {
    /// `init_ids` are the tokens of [`PrefixInit::Text`].
    pub fn new(spec: &PrefixTuningSpec, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Self> {
        let (dims, device) = (backbone.dims(), backbone.device());
        let (rows, width) = (spec.virtual_tokens, width(dims));
        if rows == 0 || spec.projection == Some(0) {
            return Err(Error::input("`virtual_tokens` and `projection` must be at least 1"));
        }
        let table = match (&spec.init, spec.projection, init_ids) {
            (PrefixInit::Normal { std }, _, _) => {
                let numbers = seeded::normal(seed, "prefix_encoder.embedding", rows * width, *std as f32);
                Tensor::from_vec(numbers, (rows, width), device)?
            }
            (PrefixInit::Text { .. }, Some(_), _) => {
                return Err(Error::input("a prefix with `projection` can't start from a text")
                    .help("leave out `projection`, or use `init = { from = \"normal\", std = ... }`"));
            }
            (PrefixInit::Text { .. }, None, Some(ids)) if !ids.is_empty() => from_text(backbone, ids, rows)?,
            (PrefixInit::Text { text }, None, _) => {
                return Err(Error::input(format!("the text that the prefix starts from has no tokens: `{text}`")));
            }
        };
        let encoder = match spec.projection {
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
    pub(super) fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Self> {
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
        "ptuning2"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some(PEFT_TYPE)
    }

    fn facts(&self) -> Vec<(&'static str, f64)> {
        let rows = match &self.encoder {
            Encoder::Table(table) => table,
            Encoder::Projected { embedding, .. } => embedding,
        };
        vec![("virtual_tokens", rows.dims()[0] as f64)]
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let table = self.table()?.detach();
        let config = peft::pretty(json!({
            "peft_type": PEFT_TYPE,
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

/// A trained `x W^T + b`; `[rows, inputs]` to `[rows, outputs]`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Candle<Tensor> {
    let out = bias.detach().broadcast_as((x.dim(0)?, weight.dim(0)?))?.force_contiguous()?;
    gemm::add(&out, &x.detach(), &weight.detach().t()?, 1.0)?;
    record(&[x, weight, bias], out, TrainedLinear)
}

struct TrainedLinear;

impl Backward for TrainedLinear {
    fn name(&self) -> &'static str {
        "trained-linear"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x, weight, _] = inputs else { candle_core::bail!("three inputs expected") };
        Ok(vec![
            Some(gemm::product(grad, &weight.tensor, 1.0)?),
            Some(gemm::product(&grad.t()?, &x.tensor, 1.0)?),
            Some(grad.sum(0)?),
        ])
    }
}
