//! What training and evaluation see of a frozen model.

use candle_core::{Device, Tensor};

use super::{adapters::Adapter, kv_cache::KvCache, ops::rotary::Rotary, token_tree::TokenTree};
use crate::base::error::Result;

/// The sizes of a backbone, and what of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    /// Key/value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Longest sequence that the model was made for.
    pub max_positions: usize,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the layer that reads what attention saw has one.
    pub output_bias: bool,
    /// Whether the perceptron's layers have biases.
    pub mlp_bias: bool,
}

impl Dims {
    /// Width of one layer's queries: `heads * head_dim`.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of one layer's keys (or values): `kv_heads * head_dim`.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// A linear layer that an adapter may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Path as in the published weights, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub path: String,
    pub inputs: usize,
    pub outputs: usize,
}

/// A backbone's sizes and its linear layers: all that is needed to know how large an adapter is.
#[derive(Debug, Clone, Copy)]
pub struct BackboneShape<'a> {
    pub dims: &'a Dims,
    pub modules: &'a [Module],
}

/// Whether dropout is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Eval,
    /// Dropout masks depend on `seed`, `pass` and the module's path alone, so that a resumed training draws the same ones.
    Train {
        seed: u64,
        /// Tells the forward passes of a training from each other, those of one step's rows included.
        pass: u64,
        /// Layers keep their input alone for backward and compute the rest again.
        gradient_checkpointing: bool,
    },
}

/// A frozen language model: a decoder, which answers in words or by a head, or an encoder, which answers by a head alone.
pub trait Backbone: Send + Sync {
    /// Its sizes.
    fn dims(&self) -> Dims;

    /// Where its weights lie and it computes.
    fn device(&self) -> &Device;

    /// The rotation of keys, where PEFT counts a prefix's tokens as positions: its prefix lies ahead of ours by as many
    /// positions as it has tokens.
    fn counted_prefix(&self) -> Option<Rotary> {
        None
    }

    /// Every linear layer that an adapter may change, in order of computation.
    fn modules(&self) -> Vec<Module>;

    /// Embeddings of tokens as the first layer reads them (an encoder's without its positions): `[tokens, hidden]`, in f32 and
    /// without gradient.
    ///
    /// # Errors
    /// If an id lies outside the vocabulary, or the device fails.
    fn embed(&self, ids: &[u32]) -> Result<Tensor>;

    /// Squares of the lengths of a linear layer's rows, `[outputs]`, on the backbone's device; `path` is one of
    /// [`Backbone::modules`].
    ///
    /// # Errors
    /// If there is no such layer, or the device fails.
    fn row_squares(&self, path: &str) -> Result<Tensor>;

    /// Whether a token's state depends on the tokens before it alone. If not, segments of a tree must have no parents: what
    /// two samples begin with isn't the same in both.
    fn is_causal(&self) -> bool {
        true
    }

    /// Hidden states after the last norm, `[tokens, hidden]`. Gradients reach the adapter's parameters only.
    ///
    /// In training, activations live as long as a tensor that was computed from the result: drop it after `backward`,
    /// which can be called once.
    ///
    /// # Errors
    /// If a token isn't in the vocabulary, a text is longer than the context, or the adapter doesn't fit.
    fn forward(&self, tree: &TokenTree, adapter: &dyn Adapter, mode: Mode) -> Result<Tensor>;

    /// What a classification head reads for each segment of `leaves`, `[leaves, hidden]`: the hidden state of its last
    /// token,
    /// where the model makes nothing else of it. Otherwise as [`Backbone::forward`].
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    fn pooled_output(&self, tree: &TokenTree, leaves: &[usize], adapter: &dyn Adapter, mode: Mode) -> Result<Tensor> {
        let rows: Vec<u32> = leaves.iter().map(|leaf| tree.last(*leaf) as u32).collect();
        let hidden = self.forward(tree, adapter, mode)?;
        Ok(hidden.index_select(&Tensor::new(rows, self.device())?, 0)?)
    }

    /// What the reference implementation calls its classification head.
    fn head_name(&self) -> &'static str {
        "score"
    }

    /// As [`Backbone::forward`] in evaluation, for the tokens of `tree` that `cache` doesn't hold yet: `[new, hidden]`.
    /// The tree may only have grown since the last call, and the adapter must be the same.
    ///
    /// # Errors
    /// As [`Backbone::forward`]; if there are no words to answer with; if `cache` holds more tokens than `tree` has.
    fn extend(&self, tree: &TokenTree, adapter: &dyn Adapter, cache: &mut KvCache) -> Result<Tensor>;

    /// Negative log-likelihood (natural logarithm) of `targets[i]` as the token that follows row `rows[i]` of `hidden`
    /// (`[tokens, hidden]`): `[rows]`. A row may be asked for several times and is computed once.
    ///
    /// # Errors
    /// If a target isn't in the vocabulary, or there are no words to answer with.
    fn nll(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor>;

    /// Logits of the chosen rows of `hidden`, `[rows, vocab]`, without gradient.
    ///
    /// # Errors
    /// If there are no words to answer with.
    fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor>;

    /// Keys (rotated) and values that the frozen model computes for a text, per layer, each
    /// `[tokens, kv_heads, head_dim]`, without gradient.
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    fn keys_values(&self, ids: &[u32]) -> Result<Vec<(Tensor, Tensor)>>;
}
