//! A post-norm encoder: the computation of BERT.
//!
//! What goes from layer to layer is the sum before the norm: a layer begins with the norm of what it reads, so that backward
//! needs no normed copy. Each layer is one differentiable node. SavedTensors for backward are its input, queries, keys and values,
//! the sum between attention and perceptron, and the perceptron's inner activations, and what attention saw where an adapter
//! changes the layer that reads it; norms, activation functions and attention probabilities are computed again.
//!
//! Dropout inside the backbone, which the reference applies while a model is trained, is left out: the backbone is frozen.

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
        add::add_in_place, attention, attention_mask::AttentionMask, buffers, gelu, heads::Heads, layer_norm,
        precision::Precision,
    },
    token_tree::TokenTree,
};
use crate::base::error::{Error, Result};

type Candle<T> = candle_core::Result<T>;

/// Looks at a layer's queries, keys and values.
type Observer<'a> = &'a mut dyn FnMut(&Tensor) -> Candle<()>;

/// A layer norm's weight and bias, `[hidden]`, and epsilon.
#[derive(Debug, Clone)]
pub struct Norm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub eps: f64,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        layer_norm::forward(x, &self.weight, &self.bias, self.eps)
    }

    fn backward(&self, x: &Tensor, grad: &Tensor) -> Candle<Tensor> {
        layer_norm::backward(x, &self.weight, grad, self.eps)
    }
}

/// The frozen weights of one layer, with the norm of what enters it: the embedding's, or the end of the layer before.
#[derive(Debug, Clone)]
pub struct Layer {
    pub norm: Norm,
    /// Queries, keys and values, side by side.
    pub qkv: Arc<Projection>,
    pub output: Arc<Projection>,
    pub mlp_norm: Norm,
    pub up: Arc<Projection>,
    pub down: Arc<Projection>,
}

/// A frozen encoder with a pooler.
#[derive(Debug)]
pub struct Encoder {
    pub dims: Dims,
    /// `[vocab, hidden]`
    pub words: Tensor,
    /// What a token's position adds, the embedding of the first sentence included: `[max_positions, hidden]`.
    pub positions: Tensor,
    pub layers: Vec<Layer>,
    /// The end of the last layer.
    pub norm: Norm,
    /// Followed by tanh, it makes a sentence's summary of the state of its first token.
    pub pooler: Arc<Projection>,
    pub device: Device,
}

impl Encoder {
    fn heads(&self) -> Heads {
        let Dims { heads: queries, kv_heads: keys, head_dim: dim, .. } = self.dims;
        Heads { queries, keys, dim, precision: Precision::beside(self.words.dtype()) }
    }

    /// The sum of the three embeddings, `[tokens, hidden]`. As in the reference implementation, positions count the virtual
    /// tokens of a prefix.
    fn embed(&self, tree: &TokenTree, virtual_tokens: usize) -> Result<Tensor> {
        check_ids(tree.ids(), self.dims.vocab)?;
        if tree.segments().iter().any(|s| s.parent.is_some()) {
            return Err(Error::internal("samples of an encoder share no beginning"));
        }
        let longest = tree.segments().iter().map(|s| s.len).max().unwrap_or(0);
        if longest + virtual_tokens > self.dims.max_positions {
            let beside =
                if virtual_tokens > 0 { format!(" behind a prefix of {virtual_tokens}") } else { String::new() };
            return Err(Error::input(format!(
                "a text of {longest} tokens{beside} is longer than the model's context of {}",
                self.dims.max_positions
            ))
            .help(format!("set `max_tokens` to {} or less", self.dims.max_positions.saturating_sub(virtual_tokens))));
        }
        let places: Vec<u32> = tree.positions().iter().map(|p| p + virtual_tokens as u32).collect();
        let words = self.words.index_select(&Tensor::new(tree.ids(), &self.device)?, 0)?.to_dtype(DType::F32)?;
        add_in_place(&words, &self.positions.index_select(&Tensor::new(places, &self.device)?, 0)?)?;
        Ok(words)
    }

    /// Hidden states after the last norm: of the first token of each segment, or of all tokens. `observe` sees each layer's
    /// queries, keys and values.
    fn run(
        &self,
        tree: &TokenTree,
        first_tokens: bool,
        adapter: &dyn Adapter,
        mode: Mode,
        mut observe: Option<Observer>,
    ) -> Result<Tensor> {
        if tree.is_empty() {
            return Ok(Tensor::zeros((0, self.dims.hidden), DType::F32, &self.device)?);
        }
        buffers::begin_row(tree.len());
        if adapter.soft_prompt()?.is_some() {
            return Err(Error::input(
                "a prompt of embeddings can't go before what an encoder reads: it sees both ways",
            )
            .help("train another kind of adapter, such as `ptuning2`"));
        }
        let prefixes = prefixes(adapter, self.dims, &self.device)?;
        let virtual_tokens = prefixes.first().map_or(Ok(0), |p| p.dim(1))?;
        let mask = AttentionMask::two_sided(tree);
        let mut s = self.embed(tree, virtual_tokens)?;
        let gradient_checkpointing = matches!(mode, Mode::Train { gradient_checkpointing: true, .. });
        for (i, (layer, prefix)) in self.layers.iter().zip(&prefixes).enumerate() {
            let changes = layer.changes(adapter, mode)?;
            let mut block = EncoderBlock { layer: layer.clone(), heads: self.heads(), mask: mask.clone(), only: None };
            if first_tokens && i + 1 == self.layers.len() {
                // Nothing reads the last layer's other rows.
                let firsts: Vec<u32> = tree.segments().iter().map(|s| s.start as u32).collect();
                block.only = Some(Tensor::new(firsts, &self.device)?);
                block.mask = AttentionMask::first_of_each(tree);
            }
            s = match &mut observe {
                Some(observe) => {
                    let (next, saved) = block.forward(&s.detach(), prefix, &changes)?;
                    observe(&saved.qkv)?;
                    next
                }
                None => layer::apply(block, &s, prefix, &changes, gradient_checkpointing)?,
            };
        }
        let y = self.norm.forward(&s.detach())?;
        Ok(record(&[&s], y, FinalNorm(self.norm.clone()))?)
    }
}

impl Layer {
    fn projections(&self) -> [&Arc<Projection>; 4] {
        [&self.qkv, &self.output, &self.up, &self.down]
    }

    /// What `adapter` changes, in the order of [`Layer::projections`].
    fn changes(&self, adapter: &dyn Adapter, mode: Mode) -> Candle<[Changes; 4]> {
        let [qkv, output, up, down] = self.projections().map(|p| p.changes(adapter, mode));
        Ok([qkv?, output?, up?, down?])
    }
}

struct EncoderBlock {
    layer: Layer,
    heads: Heads,
    mask: Arc<AttentionMask>,
    /// The tokens that ask, where they aren't all.
    only: Option<Tensor>,
}

impl EncoderBlock {
    /// Rows of the tokens that ask.
    fn pick(&self, x: Tensor) -> Candle<Tensor> {
        match &self.only {
            Some(rows) => x.index_select(rows, 0),
            None => Ok(x),
        }
    }

    /// The rows where they belong, among zeros.
    fn put_back(&self, rows: Tensor, all: usize) -> Candle<Tensor> {
        match &self.only {
            Some(places) => Tensor::zeros((all, rows.dim(1)?), DType::F32, rows.device())?.index_add(places, &rows, 0),
            None => Ok(rows),
        }
    }
}

impl Block for EncoderBlock {
    fn name(&self) -> &'static str {
        "encoder-layer"
    }

    fn forward(
        &self,
        s: &Tensor,
        prefix: &Tensor,
        [qkv, output, up, down]: &[Changes; 4],
    ) -> Candle<(Tensor, SavedTensors)> {
        let layer = &self.layer;
        let x = layer.norm.forward(s)?;
        let qkv = layer.qkv.forward(&x, qkv, None)?;
        let attn_output = self.pick(attention::forward(&qkv, prefix, self.heads, &self.mask)?)?;
        let residual = layer.output.forward(&attn_output, output, Some(self.pick(x)?))?;
        let attn_output = keep(attn_output, output)?;
        let x = layer.mlp_norm.forward(&residual)?;
        let pre_activation = layer.up.forward(&x, up, None)?;
        let active = gelu::forward(&pre_activation)?;
        let out = layer.down.forward(&active, down, Some(x))?;
        buffers::give_back(active)?;
        Ok((out, SavedTensors { qkv, attn_output, residual, pre_activation }))
    }

    fn backward(
        &self,
        (s, prefix, changes): (&Tensor, &Tensor, &[Changes; 4]),
        SavedTensors { qkv, attn_output, residual, pre_activation }: SavedTensors,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Candle<Gradients> {
        let layer = &self.layer;
        let [c_qkv, c_output, c_up, c_down] = changes;
        let wants = |changes: &Changes| wanted.changes && changes.any();

        let active = wants(c_down).then(|| gelu::forward(&pre_activation)).transpose()?;
        let (d_active, d_down) = layer.down.backward(active.as_ref(), c_down, grad)?;
        let d_pre_activation = gelu::backward(&pre_activation, &d_active)?;
        [pre_activation, d_active].into_iter().chain(active).try_for_each(buffers::give_back)?;
        let x = wants(c_up).then(|| layer.mlp_norm.forward(&residual)).transpose()?;
        let (dx, d_up) = layer.up.backward(x.as_ref(), c_up, &d_pre_activation)?;
        add_in_place(&dx, grad)?;
        let d_residual = layer.mlp_norm.backward(&residual, &dx)?;
        [residual, d_pre_activation, dx].into_iter().chain(x).try_for_each(buffers::give_back)?;

        let tokens = s.dim(0)?;
        let read = attn_output.as_ref().filter(|_| wants(c_output));
        let (d_attn_output, d_output) = layer.output.backward(read, c_output, &d_residual)?;
        let d_attn_output = self.put_back(d_attn_output, tokens)?;
        let (d_qkv, d_prefix) = attention::backward(&qkv, prefix, &d_attn_output, self.heads, &self.mask)?;
        [qkv, d_attn_output].into_iter().chain(attn_output).try_for_each(buffers::give_back)?;

        let x = wants(c_qkv).then(|| layer.norm.forward(s)).transpose()?;
        let (mut d_s, mut d_changed) = (None, None);
        if wanted.x {
            let (dx, d_flat) = layer.qkv.backward(x.as_ref(), c_qkv, &d_qkv)?;
            let d_residual = self.put_back(d_residual, tokens)?;
            add_in_place(&dx, &d_residual)?;
            (d_s, d_changed) = (Some(layer.norm.backward(s, &dx)?), d_flat);
            [dx, d_residual].into_iter().try_for_each(buffers::give_back)?;
        } else if let Some(x) = &x {
            d_changed = Some(layer.qkv.change_gradient(x, c_qkv, &d_qkv)?);
        }
        [d_qkv].into_iter().chain(x).try_for_each(buffers::give_back)?;
        Ok(Gradients { x: d_s, prefix: Some(d_prefix), changes: [d_changed, d_output, d_up, d_down] })
    }
}

fn no_words() -> Error {
    Error::input("an encoder has no words to answer with")
        .help("train a classification head (`head = true` in the method) and evaluate with `answer = \"head\"`")
}

impl Backbone for Encoder {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn modules(&self) -> Vec<Module> {
        let layers = self.layers.iter().flat_map(Layer::projections);
        layers.chain([&self.pooler]).flat_map(|p| p.modules().unwrap_or_default()).collect()
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        check_ids(ids, self.dims.vocab)?;
        Ok(self.words.index_select(&Tensor::new(ids, &self.device)?, 0)?.to_dtype(DType::F32)?)
    }

    fn row_squares(&self, path: &str) -> Result<Tensor> {
        let layers = self.layers.iter().flat_map(Layer::projections);
        linear::row_squares(layers.chain([&self.pooler]), path)
    }

    fn is_causal(&self) -> bool {
        false
    }

    fn forward(&self, tree: &TokenTree, adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        self.run(tree, false, adapter, mode, None)
    }

    /// `tanh(W h + b)` of the first token's state.
    fn pooled_output(&self, tree: &TokenTree, leaves: &[usize], adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        let leaves: Vec<u32> = leaves.iter().map(|leaf| *leaf as u32).collect();
        let firsts = self.run(tree, true, adapter, mode, None)?;
        let firsts = firsts.index_select(&Tensor::new(leaves, &self.device)?, 0)?;
        Ok(pool(&self.pooler, &firsts, self.pooler.changes(adapter, mode)?)?)
    }

    fn head_name(&self) -> &'static str {
        "classifier"
    }

    fn extend(&self, _: &TokenTree, _: &dyn Adapter, _: &mut KvCache) -> Result<Tensor> {
        Err(no_words())
    }

    fn nll(&self, _: &Tensor, _: &[u32], _: &[u32]) -> Result<Tensor> {
        Err(no_words())
    }

    fn logits(&self, _: &Tensor, _: &[u32]) -> Result<Tensor> {
        Err(no_words())
    }

    fn keys_values(&self, ids: &[u32]) -> Result<Vec<(Tensor, Tensor)>> {
        let mut tree = TokenTree::new();
        tree.push(None, ids);
        let Heads { queries, keys, dim, .. } = self.heads();
        let mut out = Vec::with_capacity(self.layers.len());
        let mut observe = |qkv: &Tensor| {
            let part =
                |head: usize| qkv.narrow(1, head * dim, keys * dim)?.contiguous()?.reshape((ids.len(), keys, dim));
            out.push((part(queries)?, part(queries + keys)?));
            Ok(())
        };
        self.run(&tree, false, &Untrained, Mode::Eval, Some(&mut observe))?;
        Ok(out)
    }
}

fn pool(pooler: &Arc<Projection>, x: &Tensor, changes: Changes) -> Candle<Tensor> {
    let out = pooler.forward(&x.detach(), &changes, None)?.tanh()?;
    let flat = changes.flat.clone();
    record(&[x, &flat], out, Pooler { projection: pooler.clone(), changes })
}

struct FinalNorm(Norm);

impl Backward for FinalNorm {
    fn name(&self) -> &'static str {
        "encoder-final-norm"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [s] = inputs else { candle_core::bail!("one input expected") };
        Ok(vec![Some(self.0.backward(&s.tensor, grad)?)])
    }
}

struct Pooler {
    projection: Arc<Projection>,
    changes: Changes,
}

impl Backward for Pooler {
    fn name(&self) -> &'static str {
        "pooler"
    }

    /// `d tanh(z) = 1 - tanh(z)^2`
    fn backward(&self, inputs: &[Input], output: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [x, flat] = inputs else { candle_core::bail!("two inputs expected") };
        let d_inner = (grad * output.sqr()?.affine(-1.0, 1.0)?)?;
        let read = flat.needed.then_some(&x.tensor);
        let (dx, d_flat) = self.projection.backward(read, &self.changes, &d_inner)?;
        Ok(vec![Some(dx), d_flat])
    }
}
