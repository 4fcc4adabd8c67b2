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
    fn name(&self) -> &'static str;

    /// The result, which nobody else holds. Everything is outside the graph.
    fn forward(&self, x: &Tensor, prefix: &Tensor, changes: &[Changes; 4]) -> Result<(Tensor, Kept)>;

    /// Gradients from that of the result; those that aren't wanted may be missing.
    fn backward(
        &self,
        inputs: (&Tensor, &Tensor, &[Changes; 4]),
        kept: Kept,
        grad: &Tensor,
        wanted: Wanted,
    ) -> Result<Gradients>;
}

/// What backward needs of a layer's inside. Nobody else holds these.
pub struct Kept {
    /// Queries, keys and values, `[tokens, queries | keys | values]`, as attention reads them.
    pub qkv: Tensor,
    /// What attention saw, where something but the frozen weights reads it.
    pub seen: Option<Tensor>,
    /// The state between attention and perceptron.
    pub mid: Tensor,
    /// What the activation function reads.
    pub inner: Tensor,
}

/// What attention saw, where `changes` of the layer that reads it will ask for it in backward. Nothing else does.
pub fn keep(seen: Tensor, changes: &Changes) -> Result<Option<Tensor>> {
    if changes.any() {
        return Ok(Some(seen));
    }
    buffers::give_back(seen)?;
    Ok(None)
}

/// Which gradients somebody asks for.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub x: bool,
    pub changes: bool,
}

pub struct Gradients {
    pub x: Option<Tensor>,
    pub prefix: Option<Tensor>,
    pub changes: [Option<Tensor>; 4],
}

/// `block` of `x`, differentiably. With `checkpointing` (Chen et al. 2016), backward computes the layer's inside again from
/// its inputs; the gradients are the same bits.
pub fn apply<B: Block>(
    block: B,
    x: &Tensor,
    prefix: &Tensor,
    changes: &[Changes; 4],
    checkpointing: bool,
) -> Result<Tensor> {
    let flat = Changes::join(changes)?;
    let changes = changes.each_ref().map(Changes::detached);
    let (output, kept) = block.forward(&x.detach(), &prefix.detach(), &changes)?;
    let tracked = [x, prefix, &flat].iter().any(|t| t.track_op());
    let kept = if tracked && !checkpointing {
        Some(kept)
    } else {
        let Kept { qkv, seen, mid, inner } = kept;
        [qkv, mid, inner].into_iter().chain(seen).try_for_each(buffers::give_back)?;
        None
    };
    record(&[x, prefix, &flat], output, Node { block, changes, kept: Mutex::new(kept), checkpointing })
}

struct Node<B: Block> {
    block: B,
    changes: [Changes; 4],
    /// Given away in backward.
    kept: Mutex<Option<Kept>>,
    checkpointing: bool,
}

impl<B: Block> Backward for Node<B> {
    fn name(&self) -> &'static str {
        self.block.name()
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, prefix, flat] = inputs else { candle_core::bail!("three inputs expected") };
        let kept = match self.kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(kept) => kept,
            None if self.checkpointing => self.block.forward(&x.tensor, &prefix.tensor, &self.changes)?.1,
            None => candle_core::bail!("backward runs once only"),
        };
        let wanted = Wanted { x: x.needed, changes: flat.needed };
        let inputs = (&x.tensor, &prefix.tensor, &self.changes);
        let Gradients { x, prefix, changes } = self.block.backward(inputs, kept, grad, wanted)?;
        let changes = flat.needed.then(|| Changes::join_gradients(&self.changes, changes)).transpose()?;
        Ok(vec![x, prefix, changes])
    }
}
