//! P-Tuning v2 (Liu et al. 2021), also known as prefix tuning (Li & Liang 2021): trained keys and values in every layer.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result as Candle, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adapter, SavedAdapter, peft};
use crate::{
    error::{Error, Result},
    models::{
        Backbone, Dims,
        autograd::{Backward, Input, record},
        ops::{
            gemm,
            rotary::{Rotary, rotate, rotate_back},
        },
        random,
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
                let numbers = random::normal(seed, "prefix_encoder.embedding", rows * width, *std as f32);
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
                    let weight = random::uniform(seed, &format!("{name}.weight"), outputs * inputs, bound);
                    let bias = random::uniform(seed, &format!("{name}.bias"), outputs, bound);
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

    /// With a table as PEFT saves it.
    pub(super) fn from_table(table: Tensor, backbone: &dyn Backbone) -> Result<Self> {
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
            Encoder::Table(table) => vec![(peft::PREFIX_NAME.to_owned(), table.clone())],
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

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let table = self.table()?.detach();
        let config = peft::prefix_config(self.dims, table.dim(0)?, base_model)?;
        Ok(SavedAdapter { config, weights: peft::weights(&[(peft::PREFIX_NAME.to_owned(), table)].into())? })
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
