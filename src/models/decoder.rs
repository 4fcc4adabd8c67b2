//! A pre-norm causal decoder: the computation that llama-like families share.
//!
//! Each layer is four differentiable blocks. Kept for backward are the blocks' inputs and results and the gate and up
//! activations; norms, activation functions and attention probabilities are computed again.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::{
    Backbone, Dims, Mode, Module, TokenTree,
    adapters::{Adapter, Untrained},
    autograd::{Backward, Input, record},
    blocks::{attend, check_ids, prefixes},
    cache::KvCache,
    checkpointing::checkpointed,
    linear::{Changes, Projection},
    ops::{
        add_in_place,
        attention::{Heads, Pattern},
        gemm, nll,
        nll::Targets,
        rms_norm,
        rotary::{self, Rotary},
        swiglu,
    },
};
use crate::error::{Error, Result};

type Candle<T> = candle_core::Result<T>;

/// A norm's weight, `[hidden]`, and epsilon.
#[derive(Debug, Clone)]
pub struct Norm {
    pub weight: Tensor,
    pub eps: f64,
}

/// The frozen weights of one layer.
#[derive(Debug, Clone)]
pub struct Layer {
    pub attention_norm: Norm,
    /// Queries, keys and values, side by side.
    pub qkv: Arc<Projection>,
    pub output: Arc<Projection>,
    pub mlp_norm: Norm,
    /// Gate and up, side by side.
    pub gate_up: Arc<Projection>,
    pub down: Arc<Projection>,
}

/// A frozen decoder.
#[derive(Debug)]
pub struct Decoder {
    pub dims: Dims,
    pub rotary: Rotary,
    /// `[vocab, hidden]`
    pub embedding: Tensor,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    /// `[vocab, hidden]`; the same storage as `embedding` where they are tied.
    pub head: Tensor,
    pub device: Device,
}

impl Decoder {
    pub fn heads(&self) -> Heads {
        Heads { queries: self.dims.heads, keys: self.dims.kv_heads, dim: self.dims.head_dim }
    }

    fn projections(&self) -> impl Iterator<Item = &Arc<Projection>> {
        self.layers.iter().flat_map(Layer::projections)
    }

    /// Hidden states of the tokens at `from` and later, and what `observe` wants to know of each layer's queries, keys and
    /// values (`[new tokens, queries | keys | values]`); it returns those of all tokens.
    fn run(
        &self,
        tree: &TokenTree,
        from: usize,
        adapter: &dyn Adapter,
        mode: Mode,
        observe: &mut dyn FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let ids = &tree.ids()[from..];
        check_ids(ids, self.dims.vocab)?;
        if ids.is_empty() {
            return Ok(Tensor::zeros((0, self.dims.hidden), DType::F32, &self.device)?);
        }
        let longest = tree.positions()[from..].iter().max().map_or(0, |p| *p as usize + 1);
        if longest > self.dims.max_positions {
            return Err(Error::input(format!(
                "a text of {longest} tokens is longer than the model's context of {}",
                self.dims.max_positions
            )));
        }
        let pattern = Pattern::new(tree, from);
        let angles = self.rotary.table(&tree.positions()[from..], &self.device)?;
        let prefixes = prefixes(adapter, self.dims, &self.device)?;
        let ids = Tensor::new(ids, &self.device)?;
        let mut x = self.embedding.index_select(&ids, 0)?.to_dtype(DType::F32)?;
        let view = View { rotary: self.rotary, heads: self.heads(), angles, pattern };
        let checkpointing = matches!(mode, Mode::Train { checkpointing: true, .. });
        for (i, (layer, prefix)) in self.layers.iter().zip(&prefixes).enumerate() {
            let changes = layer.changes(adapter, mode)?;
            x = if checkpointing {
                let (layer, view) = (layer.clone(), view.clone());
                let flat = Changes::join(&changes)?;
                checkpointed("decoder-layer", [&x, prefix, &flat], move |x, prefix, flat| {
                    layer.forward(&view, x, prefix, Changes::split(&changes, flat)?, |qkv| Ok(qkv))
                })?
            } else {
                layer.forward(&view, &x, prefix, changes, |qkv| observe(i, qkv))?
            };
        }
        let y = rms_norm::forward(&x.detach(), &self.norm.weight, self.norm.eps)?;
        Ok(record(&[&x], y, FinalNorm(self.norm.clone()))?)
    }
}

/// What all layers of a forward pass have in common.
#[derive(Clone)]
struct View {
    rotary: Rotary,
    heads: Heads,
    angles: Tensor,
    pattern: Arc<Pattern>,
}

impl Layer {
    fn projections(&self) -> [&Arc<Projection>; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }

    /// What `adapter` changes, in the order of [`Layer::projections`].
    fn changes(&self, adapter: &dyn Adapter, mode: Mode) -> Candle<[Changes; 4]> {
        let [qkv, output, gate_up, down] = self.projections().map(|p| p.changes(adapter, mode));
        Ok([qkv?, output?, gate_up?, down?])
    }

    fn forward<E: From<candle_core::Error>>(
        &self,
        view: &View,
        x: &Tensor,
        prefix: &Tensor,
        [qkv, output, gate_up, down]: [Changes; 4],
        observe: impl FnOnce(Tensor) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Tensor, E> {
        let qkv = observe(attention_input(self, view, x, qkv)?)?;
        let seen = attend(&qkv, prefix, view.heads, &view.pattern)?;
        let mid = attention_output(self, &seen, x, output)?;
        Ok(mlp(self, &mid, gate_up, down)?)
    }
}

impl Backbone for Decoder {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn modules(&self) -> Vec<Module> {
        self.projections().flat_map(|p| p.modules().unwrap_or_default()).collect()
    }

    fn forward(&self, tree: &TokenTree, adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        self.run(tree, 0, adapter, mode, &mut |_, qkv| Ok(qkv))
    }

    fn extend(&self, tree: &TokenTree, adapter: &dyn Adapter, cache: &mut KvCache) -> Result<Tensor> {
        let from = cache.len();
        if from > tree.len() {
            return Err(Error::internal(format!("a cache of {from} tokens for a tree of {}", tree.len())));
        }
        let hidden =
            self.run(tree, from, adapter, Mode::Eval, &mut |i, qkv| Ok(cache.append(i, &qkv.detach())?))?.detach();
        cache.advance(tree.len() - from);
        Ok(hidden)
    }

    fn nll(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
        if rows.len() != targets.len() {
            return Err(Error::internal(format!("{} rows for {} targets", rows.len(), targets.len())));
        }
        check_ids(targets, self.dims.vocab)?;
        if rows.is_empty() {
            return Ok(Tensor::zeros(0, DType::F32, &self.device)?);
        }
        let mut distinct = rows.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let places = rows.iter().map(|row| distinct.partition_point(|d| d < row) as u32).collect();
        let targets = Targets { rows: places, ids: targets.to_vec() };
        let h = hidden.index_select(&Tensor::new(distinct.as_slice(), &self.device)?, 0)?;
        let (losses, sums) = nll::forward(&h.detach(), &self.head, &targets)?;
        Ok(record(&[&h], losses.force_contiguous()?, Nll { head: self.head.clone(), targets, sums })?)
    }

    fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let h = hidden.detach().index_select(&Tensor::new(rows, &self.device)?, 0)?;
        Ok(gemm::product(&h, &self.head.t()?, 1.0)?)
    }

    fn keys_values(&self, ids: &[u32]) -> Result<Vec<(Tensor, Tensor)>> {
        let mut tree = TokenTree::new();
        tree.push(None, ids);
        let Heads { queries, keys, dim } = self.heads();
        let mut out = Vec::with_capacity(self.layers.len());
        self.run(&tree, 0, &Untrained, Mode::Eval, &mut |_, qkv| {
            let part =
                |head: usize| qkv.narrow(1, head * dim, keys * dim)?.contiguous()?.reshape((ids.len(), keys, dim));
            out.push((part(queries)?, part(queries + keys)?));
            Ok(qkv)
        })?;
        Ok(out)
    }
}

/// Norm, projections and rotation.
fn attention_input(layer: &Layer, view: &View, x: &Tensor, changes: Changes) -> Candle<Tensor> {
    let node = AttentionInput {
        norm: layer.attention_norm.clone(),
        projection: layer.qkv.clone(),
        changes: changes.clone(),
        angles: view.angles.clone(),
        rotary: view.rotary,
        heads: view.heads,
    };
    let normed = rms_norm::forward(&x.detach(), &node.norm.weight, node.norm.eps)?;
    let qkv = node.projection.forward(&normed, &changes, None)?;
    rotary::rotate(&qkv, &view.angles, view.rotary, view.heads.queries + view.heads.keys, view.heads.dim)?;
    record(&[x, &changes.flat], qkv, node)
}

/// `attention` through the output projection, added to `x`.
fn attention_output(layer: &Layer, attention: &Tensor, x: &Tensor, changes: Changes) -> Candle<Tensor> {
    let out = layer.output.forward(&attention.detach(), &changes, Some(x.detach().force_contiguous()?))?;
    let flat = changes.flat.clone();
    record(&[attention, x, &flat], out, AttentionOutput { projection: layer.output.clone(), changes })
}

fn mlp(layer: &Layer, x: &Tensor, gate_up: Changes, down: Changes) -> Candle<Tensor> {
    let bare = x.detach();
    let normed = rms_norm::forward(&bare, &layer.mlp_norm.weight, layer.mlp_norm.eps)?;
    let activations = layer.gate_up.forward(&normed, &gate_up, None)?;
    drop(normed);
    let out = layer.down.forward(&swiglu::forward(&activations)?, &down, Some(bare.force_contiguous()?))?;
    let flats = (gate_up.flat.clone(), down.flat.clone());
    let node = Mlp {
        norm: layer.mlp_norm.clone(),
        gate_up: (layer.gate_up.clone(), gate_up),
        down: (layer.down.clone(), down),
        activations: Mutex::new(Some(activations)),
    };
    record(&[x, &flats.0, &flats.1], out, node)
}

struct AttentionInput {
    norm: Norm,
    projection: Arc<Projection>,
    changes: Changes,
    angles: Tensor,
    rotary: Rotary,
    heads: Heads,
}

impl Backward for AttentionInput {
    fn name(&self) -> &'static str {
        "attention-input"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x, flat] = inputs else { candle_core::bail!("two inputs expected") };
        let grad = grad.force_contiguous()?;
        rotary::rotate_back(&grad, &self.angles, self.rotary, self.heads.queries + self.heads.keys, self.heads.dim)?;
        let normed = rms_norm::forward(&x.tensor, &self.norm.weight, self.norm.eps)?;
        let (d_normed, d_flat) = self.projection.backward(&normed, &self.changes, &grad, x.needed, flat.needed)?;
        let dx = d_normed.map(|g| rms_norm::backward(&x.tensor, &self.norm.weight, &g, self.norm.eps)).transpose()?;
        Ok(vec![dx, d_flat])
    }
}

struct AttentionOutput {
    projection: Arc<Projection>,
    changes: Changes,
}

impl Backward for AttentionOutput {
    fn name(&self) -> &'static str {
        "attention-output"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [attention, _, flat] = inputs else { candle_core::bail!("three inputs expected") };
        let (d_attention, d_flat) =
            self.projection.backward(&attention.tensor, &self.changes, grad, attention.needed, flat.needed)?;
        Ok(vec![d_attention, Some(grad.clone()), d_flat])
    }
}

struct Mlp {
    norm: Norm,
    gate_up: (Arc<Projection>, Changes),
    down: (Arc<Projection>, Changes),
    /// Gate and up; given back as soon as they were used.
    activations: Mutex<Option<Tensor>>,
}

impl Backward for Mlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x, flat_gate_up, flat_down] = inputs else { candle_core::bail!("three inputs expected") };
        let activations = self.activations.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(activations) = activations else { candle_core::bail!("backward runs once only") };
        let (down, changes) = &self.down;
        // The frozen part of `down` doesn't look at its input.
        let active = if flat_down.needed { swiglu::forward(&activations)? } else { activations.clone() };
        let wanted = x.needed || flat_gate_up.needed;
        let (d_active, d_down) = down.backward(&active, changes, grad, wanted, flat_down.needed)?;
        let Some(d_active) = d_active else { return Ok(vec![None, None, d_down]) };
        drop(active);
        let d_activations = swiglu::backward(&activations, &d_active)?;
        drop((activations, d_active));
        let normed = rms_norm::forward(&x.tensor, &self.norm.weight, self.norm.eps)?;
        let (gate_up, changes) = &self.gate_up;
        let (d_normed, d_gate_up) =
            gate_up.backward(&normed, changes, &d_activations, x.needed, flat_gate_up.needed)?;
        let dx = match d_normed {
            Some(g) => {
                let dx = rms_norm::backward(&x.tensor, &self.norm.weight, &g, self.norm.eps)?;
                add_in_place(&dx, grad)?;
                Some(dx)
            }
            None => None,
        };
        Ok(vec![dx, d_gate_up, d_down])
    }
}

struct FinalNorm(Norm);

impl Backward for FinalNorm {
    fn name(&self) -> &'static str {
        "final-norm"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x] = inputs else { candle_core::bail!("one input expected") };
        Ok(vec![Some(rms_norm::backward(&x.tensor, &self.0.weight, grad, self.0.eps)?)])
    }
}

struct Nll {
    head: Tensor,
    targets: Targets,
    sums: Tensor,
}

impl Backward for Nll {
    fn name(&self) -> &'static str {
        "nll"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [h] = inputs else { candle_core::bail!("one input expected") };
        Ok(vec![Some(nll::backward(&h.tensor, &self.head, &self.targets, &self.sums, grad)?)])
    }
}
