//! A post-norm encoder: the computation of BERT.
//!
//! What goes from block to block is the sum before each norm: a block begins with the norm of what it reads, so that
//! backward needs no normed copy. Kept are the blocks' inputs and results and the inner activations of the perceptron;
//! norms, activation functions and attention probabilities are computed again.
//!
//! Dropout inside the backbone, which the reference applies while a model is trained, is left out: the backbone is frozen.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::{
    Backbone, Dims, KvCache, Mode, Module, TokenTree,
    adapters::{Adapter, Untrained},
    autograd::{Backward, Input, record},
    blocks::{attend, check_ids, prefixes},
    checkpointing::checkpointed,
    linear::{Changes, Projection},
    ops::{
        add_in_place,
        attention::{Heads, Pattern},
        gelu, layer_norm,
    },
};
use crate::error::{Error, Result};

type Candle<T> = candle_core::Result<T>;

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
        Heads { queries: self.dims.heads, keys: self.dims.kv_heads, dim: self.dims.head_dim }
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
        observe: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        if tree.is_empty() {
            return Ok(Tensor::zeros((0, self.dims.hidden), DType::F32, &self.device)?);
        }
        let prefixes = prefixes(adapter, self.dims, &self.device)?;
        let virtual_tokens = prefixes.first().map_or(Ok(0), |p| p.dim(1))?;
        let pattern = Pattern::two_sided(tree);
        let mut s = self.embed(tree, virtual_tokens)?;
        let (heads, checkpointing) = (self.heads(), matches!(mode, Mode::Train { checkpointing: true, .. }));
        for (i, (layer, prefix)) in self.layers.iter().zip(&prefixes).enumerate() {
            let changes = layer.changes(adapter, mode)?;
            s = if first_tokens && i + 1 == self.layers.len() {
                // Nothing reads the last layer's other rows.
                let firsts: Vec<u32> = tree.segments().iter().map(|s| s.start as u32).collect();
                let firsts = Tensor::new(firsts, &self.device)?;
                layer.forward(
                    &s,
                    prefix,
                    changes,
                    heads,
                    &Pattern::first_of_each(tree),
                    Some(&firsts),
                    &mut *observe,
                )?
            } else if checkpointing {
                let (layer, pattern) = (layer.clone(), pattern.clone());
                let flat = Changes::join(&changes)?;
                checkpointed("encoder-layer", [&s, prefix, &flat], move |s, prefix, flat| {
                    let changes = Changes::split(&changes, flat)?;
                    layer.forward(s, prefix, changes, heads, &pattern, None, &mut |_| Candle::Ok(()))
                })?
            } else {
                layer.forward(&s, prefix, changes, heads, &pattern, None, &mut *observe)?
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

    /// `only`: the tokens that ask by `pattern`, where they aren't all.
    #[expect(clippy::too_many_arguments, reason = "what a layer reads")]
    fn forward<E: From<candle_core::Error>>(
        &self,
        s: &Tensor,
        prefix: &Tensor,
        [qkv, output, up, down]: [Changes; 4],
        heads: Heads,
        pattern: &Arc<Pattern>,
        only: Option<&Tensor>,
        observe: &mut dyn FnMut(&Tensor) -> std::result::Result<(), E>,
    ) -> std::result::Result<Tensor, E> {
        let x = self.norm.forward(&s.detach())?;
        let qkv = attention_input(self, s, &x, qkv)?;
        observe(&qkv)?;
        let seen = attend(&qkv, prefix, heads, pattern)?;
        let mid = match only {
            Some(rows) => {
                let pick = |t: &Tensor| t.index_select(rows, 0);
                attention_output(self, &pick(&seen)?, &pick(s)?, pick(&x)?, output)?
            }
            None => attention_output(self, &seen, s, x, output)?,
        };
        Ok(mlp(self, &mid, up, down)?)
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

    fn is_causal(&self) -> bool {
        false
    }

    fn forward(&self, tree: &TokenTree, adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        self.run(tree, false, adapter, mode, &mut |_| Ok(()))
    }

    /// `tanh(W h + b)` of the first token's state.
    fn summaries(&self, tree: &TokenTree, leaves: &[usize], adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        let leaves: Vec<u32> = leaves.iter().map(|leaf| *leaf as u32).collect();
        let firsts = self.run(tree, true, adapter, mode, &mut |_| Ok(()))?;
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
        let Heads { queries, keys, dim } = self.heads();
        let mut out = Vec::with_capacity(self.layers.len());
        self.run(&tree, false, &Untrained, Mode::Eval, &mut |qkv| {
            let part =
                |head: usize| qkv.narrow(1, head * dim, keys * dim)?.contiguous()?.reshape((ids.len(), keys, dim));
            out.push((part(queries)?, part(queries + keys)?));
            Ok(())
        })?;
        Ok(out)
    }
}

/// Queries, keys and values of `x`, the norm of `s`.
fn attention_input(layer: &Layer, s: &Tensor, x: &Tensor, changes: Changes) -> Candle<Tensor> {
    let qkv = layer.qkv.forward(x, &changes, None)?;
    let flat = changes.flat.clone();
    record(&[s, &flat], qkv, AttentionInput { norm: layer.norm.clone(), projection: layer.qkv.clone(), changes })
}

/// `seen` through the output projection, added to `x`, the norm of `s`.
fn attention_output(layer: &Layer, seen: &Tensor, s: &Tensor, x: Tensor, changes: Changes) -> Candle<Tensor> {
    let out = layer.output.forward(&seen.detach(), &changes, Some(x))?;
    let flat = changes.flat.clone();
    let node = AttentionOutput { norm: layer.norm.clone(), projection: layer.output.clone(), changes };
    record(&[seen, s, &flat], out, node)
}

fn mlp(layer: &Layer, s: &Tensor, up: Changes, down: Changes) -> Candle<Tensor> {
    let x = layer.mlp_norm.forward(&s.detach())?;
    let inner = layer.up.forward(&x, &up, None)?;
    let out = layer.down.forward(&gelu::forward(&inner)?, &down, Some(x))?;
    let flats = (up.flat.clone(), down.flat.clone());
    let node = Mlp {
        norm: layer.mlp_norm.clone(),
        up: (layer.up.clone(), up),
        down: (layer.down.clone(), down),
        inner: Mutex::new(Some(inner)),
    };
    record(&[s, &flats.0, &flats.1], out, node)
}

fn pool(pooler: &Arc<Projection>, x: &Tensor, changes: Changes) -> Candle<Tensor> {
    let out = pooler.forward(&x.detach(), &changes, None)?.tanh()?;
    let flat = changes.flat.clone();
    record(&[x, &flat], out, Pooler { projection: pooler.clone(), changes })
}

struct AttentionInput {
    norm: Norm,
    projection: Arc<Projection>,
    changes: Changes,
}

impl Backward for AttentionInput {
    fn name(&self) -> &'static str {
        "encoder-attention-input"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [s, flat] = inputs else { candle_core::bail!("two inputs expected") };
        let x = self.norm.forward(&s.tensor)?;
        let (dx, d_flat) = self.projection.backward(&x, &self.changes, grad, s.needed, flat.needed)?;
        let ds = dx.map(|g| self.norm.backward(&s.tensor, &g)).transpose()?;
        Ok(vec![ds, d_flat])
    }
}

struct AttentionOutput {
    norm: Norm,
    projection: Arc<Projection>,
    changes: Changes,
}

impl Backward for AttentionOutput {
    fn name(&self) -> &'static str {
        "encoder-attention-output"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [seen, s, flat] = inputs else { candle_core::bail!("three inputs expected") };
        let (d_seen, d_flat) = self.projection.backward(&seen.tensor, &self.changes, grad, seen.needed, flat.needed)?;
        let ds = s.needed.then(|| self.norm.backward(&s.tensor, grad)).transpose()?;
        Ok(vec![d_seen, ds, d_flat])
    }
}

struct Mlp {
    norm: Norm,
    up: (Arc<Projection>, Changes),
    down: (Arc<Projection>, Changes),
    /// What the activation function reads; given back as soon as it was used.
    inner: Mutex<Option<Tensor>>,
}

impl Backward for Mlp {
    fn name(&self) -> &'static str {
        "encoder-mlp"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [s, flat_up, flat_down] = inputs else { candle_core::bail!("three inputs expected") };
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(inner) = inner else { candle_core::bail!("backward runs once only") };
        let (down, changes) = &self.down;
        // The frozen part of `down` doesn't look at its input.
        let active = if flat_down.needed { gelu::forward(&inner)? } else { inner.clone() };
        let wanted = s.needed || flat_up.needed;
        let (d_active, d_down) = down.backward(&active, changes, grad, wanted, flat_down.needed)?;
        let Some(d_active) = d_active else { return Ok(vec![None, None, d_down]) };
        drop(active);
        let d_inner = gelu::backward(&inner, &d_active)?;
        drop((inner, d_active));
        let x = self.norm.forward(&s.tensor)?;
        let (up, changes) = &self.up;
        let (dx, d_up) = up.backward(&x, changes, &d_inner, s.needed, flat_up.needed)?;
        let ds = match dx {
            Some(dx) => {
                add_in_place(&dx, grad)?;
                Some(self.norm.backward(&s.tensor, &dx)?)
            }
            None => None,
        };
        Ok(vec![ds, d_up, d_down])
    }
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
        let (dx, d_flat) = self.projection.backward(&x.tensor, &self.changes, &d_inner, x.needed, flat.needed)?;
        Ok(vec![dx, d_flat])
    }
}
