//! One layer of a backbone as one node of the graph, with a backward written by hand.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor};

use super::{
    autograd::{Backward, Input, record},
    linear::Changes,
    ops::buffers,
};

/// The computation of one layer in one forward pass, for a layer of four projections.
pub trait Block: Send + Sync + 'static {
    /// What the node is called in errors.
    fn name(&self) -> &'static str;

    /// The result, which nobody else holds. Everything is outside the graph.
    ///
    /// `x` and the result are `[tokens, hidden]` (of an encoder's last layer the result may have fewer rows), `prefix`
    /// `[2, virtual_tokens, kv_heads * head_dim]`.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    fn forward(&self, x: &Tensor, prefix: &Tensor, changes: &[Changes; 4]) -> Result<(Tensor, SavedTensors)>;

    /// Gradients from that of the result; those that aren't wanted may be missing.
    ///
    /// `grad` has the result's shape, and each gradient that of its input, `x` `[tokens, hidden]`.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    fn backward(
        &self,
        inputs: (&Tensor, &Tensor, &[Changes; 4]),
        saved: SavedTensors,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Result<Gradients>;
}

/// What backward needs of a layer's inside. Nobody else holds these. `rows` are those of the layer's result.
pub struct SavedTensors {
    /// Queries, keys and values, `[tokens, queries | keys | values]`, as attention reads them.
    pub qkv: Tensor,
    /// What attention saw, `[rows, heads * head_dim]`, where something but the frozen weights reads it.
    pub attn_output: Option<Tensor>,
    /// The state between attention and perceptron, `[rows, hidden]`.
    pub residual: Tensor,
    /// What the activation function reads, `[rows, width of the perceptron]`.
    pub pre_activation: Tensor,
}

/// What attention saw, where `changes` of the layer that reads it will ask for it in backward. Nothing else does.
/// `[tokens, heads * head_dim]`.
///
/// # Errors
/// If the device fails.
pub fn keep(attn_output: Tensor, changes: &Changes) -> Result<Option<Tensor>> {
    if changes.any() {
        return Ok(Some(attn_output));
    }
    buffers::give_back(attn_output)?;
    Ok(None)
}

/// Which gradients somebody asks for.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub x: bool,
    pub changes: bool,
}

/// Gradients of what [`Block::forward`] read: `x` `[tokens, hidden]`, `prefix` `[2, virtual_tokens, kv_heads * head_dim]`,
/// and `changes`, each the `[numbers]` of [`Changes::flat`].
pub struct Gradients {
    pub x: Option<Tensor>,
    pub prefix: Option<Tensor>,
    pub changes: [Option<Tensor>; 4],
}

/// `block` of `x`, differentiably. With `gradient_checkpointing` (Chen et al. 2016), backward computes the layer's inside
/// again from its inputs; the gradients are the same bits.
///
/// `x` and the result are `[tokens, hidden]`, `prefix` is `[2, virtual_tokens, kv_heads * head_dim]`.
///
/// # Errors
/// Those of `block`.
pub fn apply<B: Block>(
    block: B,
    x: &Tensor,
    prefix: &Tensor,
    changes: &[Changes; 4],
    gradient_checkpointing: bool,
) -> Result<Tensor> {
    let flat = Changes::join(changes)?;
    let changes = changes.each_ref().map(Changes::detached);
    let (output, saved) = block.forward(&x.detach(), &prefix.detach(), &changes)?;
    let tracked = [x, prefix, &flat].iter().any(|t| t.track_op());
    let saved = if tracked && !gradient_checkpointing {
        Some(saved)
    } else {
        let SavedTensors { qkv, attn_output, residual, pre_activation } = saved;
        [qkv, residual, pre_activation].into_iter().chain(attn_output).try_for_each(buffers::give_back)?;
        None
    };
    record(&[x, prefix, &flat], output, Node { block, changes, saved: Mutex::new(saved), gradient_checkpointing })
}

struct Node<B: Block> {
    block: B,
    changes: [Changes; 4],
    /// Given away in backward.
    saved: Mutex<Option<SavedTensors>>,
    gradient_checkpointing: bool,
}

impl<B: Block> Backward for Node<B> {
    fn name(&self) -> &'static str {
        self.block.name()
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, prefix, flat] = inputs else { candle_core::bail!("three inputs expected") };
        let saved = match self.saved.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(saved) => saved,
            None if self.gradient_checkpointing => self.block.forward(&x.tensor, &prefix.tensor, &self.changes)?.1,
            None => candle_core::bail!("backward runs once only"),
        };
        let wanted = Wanted { x: x.needed, changes: flat.needed };
        let inputs = (&x.tensor, &prefix.tensor, &self.changes);
        let Gradients { x, prefix, changes } = self.block.backward(inputs, saved, grad, wanted)?;
        let changes = flat.needed.then(|| Changes::join_gradients(&self.changes, changes)).transpose()?;
        Ok(vec![x, prefix, changes])
    }
}
