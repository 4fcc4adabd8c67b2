//! Trainable parameters on top of a frozen backbone, as the backbone, training and files see them.

use candle_core::{Tensor, Var};
use serde_json::Value;

use super::head::Head;
use crate::base::error::Result;

/// A trainable change to one linear layer: `y += scale * dropout(x) A^T B^T`. With `lengths`, each row of the changed weight
/// `W + scale * B A` is brought to a length of its own.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, inputs]`
    pub a: Tensor,
    /// `[outputs, rank]`
    pub b: Tensor,
    pub scale: f64,
    /// Probability that an input of the low-rank path is dropped in training.
    pub dropout: f64,
    pub lengths: Option<RowLengths>,
}

/// Lengths of a changed weight's rows (DoRA, Liu et al. 2024). The length that the change itself would give a row is taken for
/// a constant in backward, as its authors do.
#[derive(Debug, Clone)]
pub struct RowLengths {
    /// `[outputs]`
    pub trained: Tensor,
    /// Squares of the frozen rows' lengths, `[outputs]`.
    pub squares: Tensor,
}

/// The files of a saved adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedAdapter {
    /// `adapter_config.json`
    pub config: Vec<u8>,
    /// `adapter_model.safetensors`
    pub weights: Vec<u8>,
}

/// Trainable parameters, and how they change the backbone.
pub trait Adapter: Send + Sync {
    /// Trainable parameters, of any shapes `[...]`, with their names, always in the same order. Empty: nothing to train.
    fn parameters(&self) -> Vec<(String, Var)>;

    /// The change to the linear layer at `path`.
    fn low_rank(&self, _path: &str) -> Option<LowRank> {
        None
    }

    /// What every token of a layer attends to, for each layer: keys, which live in the space of the cached ones, that is after
    /// rotation, and values, `[2, virtual_tokens, kv_heads * head_dim]`. Computed once per forward pass.
    ///
    /// # Errors
    /// If the device fails.
    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// Embeddings that a decoder reads before the first token, `[virtual_tokens, hidden]`; they take up positions.
    ///
    /// # Errors
    /// If the device fails.
    fn soft_prompt(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The classifier that answers in place of the model's words.
    fn head(&self) -> Option<&Head> {
        None
    }

    /// The name of the adapter's method, as in [`super::AdapterMethod::KIND`].
    fn method(&self) -> &'static str;

    /// What PEFT calls the method, if it knows it.
    fn peft_type(&self) -> Option<&'static str> {
        None
    }

    /// Whether PEFT counts the method to its prompt learning, which wraps no layer of the backbone: other places in files.
    fn wraps_no_layer(&self) -> bool {
        false
    }

    /// The options that the adapter itself shows, under the names of [`super::AdapterMethod::FACTS`].
    fn facts(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// The adapter in PEFT's file format. `base_model` names the backbone for the reader.
    ///
    /// # Errors
    /// If there is nothing to save, a number isn't finite, or the device fails.
    fn save(&self, base_model: &str) -> Result<SavedAdapter>;
}
