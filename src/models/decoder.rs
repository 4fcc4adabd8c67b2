//! A pre-norm causal decoder: the computation that llama-like families share.
//!
//! Each layer is one differentiable node. SavedTensors for backward are its input, queries, keys and values, the state between
//! attention and perceptron, and the gate and up activations, and what attention saw where an adapter changes the layer that
//! reads it; norms, activation functions and attention probabilities are computed again.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    adapters::{Adapter, Untrained},
    autograd::{Backward, Input, record},
    backbone::{Backbone, Dims, Mode, Module},
    blocks::{check_ids, prefixes},
    kv_cache::KvCache,
    layer::{self, Block, Gradients, SavedTensors, Wanted, keep},
    linear::{self, Changes, Projection},
    ops::{
        add::add_in_place,
        attention,
        attention_mask::AttentionMask,
        buffers, gemm,
        heads::Heads,
        nll,
        nll_targets::Targets,
        precision::Precision,
        rms_norm,
        rotary::{self, Rotary},
        swiglu,
    },
    token_tree::TokenTree,
};
use crate::base::error::{Error, Result};

type Candle<T> = candle_core::Result<T>;

/// Gets a layer's number and its queries, keys and values of the new tokens, and returns those of all tokens.
type Observer<'a> = &'a mut dyn FnMut(usize, Tensor) -> Candle<Tensor>;

/// A norm's weight, `[hidden]`, and epsilon.
#[derive(Debug, Clone)]
pub struct Norm {
    pub weight: Tensor,
    pub eps: f64,
}

impl Norm {
    fn forward(&self, x: &Tensor, dtype: DType) -> Candle<Tensor> {
        rms_norm::forward(x, &self.weight, self.eps, dtype)
    }

    fn backward(&self, x: &Tensor, grad: &Tensor) -> Candle<Tensor> {
        rms_norm::backward(x, &self.weight, grad, self.eps)
    }
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
    /// Whether the model's published implementation, with a prefix, gives the first token the prefix's length as position.
    pub counts_prefix: bool,
    /// `[vocab, hidden]`
    pub embedding: Tensor,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    /// `[vocab, hidden]`; the same storage as `embedding` where they are tied.
    pub head: Tensor,
    pub device: Device,
}

impl Decoder {
    /// The heads of each layer.
    pub fn heads(&self) -> Heads {
        let Dims { heads: queries, kv_heads: keys, head_dim: dim, .. } = self.dims;
        Heads { queries, keys, dim, precision: Precision::beside(self.head.dtype()) }
    }

    fn projections(&self) -> impl Iterator<Item = &Arc<Projection>> {
        self.layers.iter().flat_map(Layer::projections)
    }

    /// Hidden states of the tokens at `from` and later, where the places of the adapter's prompt count as tokens, and what `observe` wants to know of each layer's queries, keys and
    /// values (`[new tokens, queries | keys | values]`); it returns those of all tokens.
    fn run(
        &self,
        tree: &TokenTree,
        from: usize,
        adapter: &dyn Adapter,
        mode: Mode,
        mut observe: Option<Observer>,
    ) -> Result<Tensor> {
        let prompt = adapter.soft_prompt()?;
        let places = prompt.as_ref().map_or(Ok(0), |prompt| prompt.dim(0))?;
        let behind = (places > 0).then(|| tree.behind(places));
        let tree = behind.as_ref().unwrap_or(tree);
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
        buffers::begin_row(ids.len());
        let mask = AttentionMask::new(tree, from);
        let angles = self.rotary.table(&tree.positions()[from..], &self.device)?;
        let prefixes = prefixes(adapter, self.dims, &self.device)?;
        // All of the prompt is new, or nothing of it.
        let prompt = prompt.filter(|_| from == 0);
        let places = prompt.as_ref().map_or(Ok(0), |prompt| prompt.dim(0))?;
        let mut x = self.embed(&ids[places..])?;
        if let Some(prompt) = prompt {
            x = Tensor::cat(&[&prompt, &x], 0)?;
        }
        let view = View { rotary: self.rotary, heads: self.heads(), angles, mask };
        let gradient_checkpointing = matches!(mode, Mode::Train { gradient_checkpointing: true, .. });
        for (i, (layer, prefix)) in self.layers.iter().zip(&prefixes).enumerate() {
            let changes = layer.changes(adapter, mode)?;
            x = match &mut observe {
                Some(observe) => layer.forward(&view, &x.detach(), prefix, &changes, |qkv| observe(i, qkv))?.0,
                None => {
                    let block = DecoderBlock { layer: layer.clone(), view: view.clone() };
                    layer::apply(block, &x, prefix, &changes, gradient_checkpointing)?
                }
            };
        }
        let y = self.norm.forward(&x.detach(), DType::F32)?;
        let hidden = record(&[&x], y, FinalNorm(self.norm.clone()))?;
        Ok(if places == 0 { hidden } else { hidden.narrow(0, places, hidden.dim(0)? - places)? })
    }
}

/// What all layers of a forward pass have in common.
#[derive(Clone)]
struct View {
    rotary: Rotary,
    heads: Heads,
    angles: Tensor,
    mask: Arc<AttentionMask>,
}

impl View {
    /// Heads that are rotated: those of queries and keys.
    fn rotated(&self) -> usize {
        self.heads.queries + self.heads.keys
    }
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

    /// Everything outside the graph. `observe` sees queries, keys and values, and returns those of all tokens.
    fn forward(
        &self,
        view: &View,
        x: &Tensor,
        prefix: &Tensor,
        [qkv, output, gate_up, down]: &[Changes; 4],
        observe: impl FnOnce(Tensor) -> Candle<Tensor>,
    ) -> Candle<(Tensor, SavedTensors)> {
        let normed = self.attention_norm.forward(x, self.qkv.operand(qkv))?;
        let qkv = self.qkv.forward(&normed, qkv, None)?;
        buffers::give_back(normed)?;
        rotary::rotate(&qkv, &view.angles, view.rotary, view.rotated(), view.heads.dim)?;
        let qkv = observe(qkv)?;
        let attn_output = attention::forward(&qkv, prefix, view.heads, &view.mask)?;
        let residual = self.output.forward(&attn_output, output, Some(buffers::copy(x)?))?;
        let attn_output = keep(attn_output, output)?;
        let normed = self.mlp_norm.forward(&residual, self.gate_up.operand(gate_up))?;
        let pre_activation = self.gate_up.forward(&normed, gate_up, None)?;
        buffers::give_back(normed)?;
        let active = swiglu::forward(&pre_activation, self.down.operand(down))?;
        let out = self.down.forward(&active, down, Some(buffers::copy(&residual)?))?;
        buffers::give_back(active)?;
        Ok((out, SavedTensors { qkv, attn_output, residual, pre_activation }))
    }
}

struct DecoderBlock {
    layer: Layer,
    view: View,
}

impl Block for DecoderBlock {
    fn name(&self) -> &'static str {
        "decoder-layer"
    }

    fn forward(&self, x: &Tensor, prefix: &Tensor, changes: &[Changes; 4]) -> Candle<(Tensor, SavedTensors)> {
        self.layer.forward(&self.view, x, prefix, changes, Ok)
    }

    fn backward(
        &self,
        (x, prefix, changes): (&Tensor, &Tensor, &[Changes; 4]),
        SavedTensors { qkv, attn_output, residual, pre_activation }: SavedTensors,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Candle<Gradients> {
        let Self { layer, view } = self;
        let [c_qkv, c_output, c_gate_up, c_down] = changes;
        let wants = |changes: &Changes| wanted.changes && changes.any();

        let active = wants(c_down).then(|| swiglu::forward(&pre_activation, DType::F32)).transpose()?;
        let (d_active, d_down) = layer.down.backward(active.as_ref(), c_down, grad)?;
        let d_pre_activation = swiglu::backward(&pre_activation, &d_active, layer.gate_up.operand(c_gate_up))?;
        [pre_activation, d_active].into_iter().chain(active).try_for_each(buffers::give_back)?;
        let normed = wants(c_gate_up).then(|| layer.mlp_norm.forward(&residual, DType::F32)).transpose()?;
        let (d_normed, d_gate_up) = layer.gate_up.backward(normed.as_ref(), c_gate_up, &d_pre_activation)?;
        let d_residual = layer.mlp_norm.backward(&residual, &d_normed)?;
        [residual, d_pre_activation, d_normed].into_iter().chain(normed).try_for_each(buffers::give_back)?;
        add_in_place(&d_residual, grad)?;

        let read = attn_output.as_ref().filter(|_| wants(c_output));
        let (d_attn_output, d_output) = layer.output.backward(read, c_output, &d_residual)?;
        let (d_qkv, d_prefix) = attention::backward(&qkv, prefix, &d_attn_output, view.heads, &view.mask)?;
        [qkv, d_attn_output].into_iter().chain(attn_output).try_for_each(buffers::give_back)?;
        rotary::rotate_back(&d_qkv, &view.angles, view.rotary, view.rotated(), view.heads.dim)?;

        let normed = wants(c_qkv).then(|| layer.attention_norm.forward(x, DType::F32)).transpose()?;
        let (mut dx, mut d_changed) = (None, None);
        if wanted.x {
            let (d_normed, d_flat) = layer.qkv.backward(normed.as_ref(), c_qkv, &d_qkv)?;
            let d_x = layer.attention_norm.backward(x, &d_normed)?;
            buffers::give_back(d_normed)?;
            add_in_place(&d_x, &d_residual)?;
            (dx, d_changed) = (Some(d_x), d_flat);
        } else if let Some(normed) = &normed {
            d_changed = Some(layer.qkv.change_gradient(normed, c_qkv, &d_qkv)?);
        }
        [d_qkv, d_residual].into_iter().chain(normed).try_for_each(buffers::give_back)?;
        Ok(Gradients { x: dx, prefix: Some(d_prefix), changes: [d_changed, d_output, d_gate_up, d_down] })
    }
}

impl Backbone for Decoder {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn counted_prefix(&self) -> Option<Rotary> {
        self.counts_prefix.then_some(self.rotary)
    }

    fn modules(&self) -> Vec<Module> {
        self.projections().flat_map(|p| p.modules().unwrap_or_default()).collect()
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        check_ids(ids, self.dims.vocab)?;
        Ok(self.embedding.index_select(&Tensor::new(ids, &self.device)?, 0)?.to_dtype(DType::F32)?)
    }

    fn row_squares(&self, path: &str) -> Result<Tensor> {
        linear::row_squares(self.projections(), path)
    }

    fn forward(&self, tree: &TokenTree, adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        self.run(tree, 0, adapter, mode, None)
    }

    fn extend(&self, tree: &TokenTree, adapter: &dyn Adapter, cache: &mut KvCache) -> Result<Tensor> {
        let from = cache.len();
        if from > tree.len() {
            return Err(Error::internal(format!("a cache of {from} tokens for a tree of {}", tree.len())));
        }
        let places = adapter.soft_prompt()?.map_or(Ok(0), |prompt| prompt.dim(0))?;
        let start = if cache.holds_nothing() { 0 } else { places + from };
        let hidden = self.run(tree, start, adapter, Mode::Eval, Some(&mut |i, qkv| cache.append(i, &qkv)))?.detach();
        cache.advance(places, tree.len() - from);
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
        let Heads { queries, keys, dim, .. } = self.heads();
        let mut out = Vec::with_capacity(self.layers.len());
        let mut observe = |_, qkv: Tensor| {
            let part =
                |head: usize| qkv.narrow(1, head * dim, keys * dim)?.contiguous()?.reshape((ids.len(), keys, dim));
            out.push((part(queries)?, part(queries + keys)?));
            Ok(qkv)
        };
        self.run(&tree, 0, &Untrained, Mode::Eval, Some(&mut observe))?;
        Ok(out)
    }
}

struct FinalNorm(Norm);

impl Backward for FinalNorm {
    fn name(&self) -> &'static str {
        "final-norm"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x] = inputs else { candle_core::bail!("one input expected") };
        Ok(vec![Some(self.0.backward(&x.tensor, grad)?)])
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
