//! Activation checkpointing (Chen et al. 2016): what lies inside a part of the model is computed again in backward.

use candle_core::{Result, Tensor, Var};

use super::autograd::{Backward, Input, record};

type Part = dyn Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync;

struct Checkpoint {
    name: &'static str,
    part: Box<Part>,
}

/// `part(x, prefix, flat)`, of which only the three inputs are kept. The gradients are those of `part` itself, bit for bit.
pub fn checkpointed(
    name: &'static str,
    [x, prefix, flat]: [&Tensor; 3],
    part: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let output = part(&x.detach(), &prefix.detach(), &flat.detach())?;
    record(&[x, prefix, flat], output, Checkpoint { name, part: Box::new(part) })
}

impl Backward for Checkpoint {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let leaf = |input: &Input| match input.needed {
            true => Ok(Var::from_tensor(&input.tensor)?.into_inner()),
            false => Ok(input.tensor.clone()),
        };
        let leaves = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
        let [x, prefix, flat] = leaves.as_slice() else { candle_core::bail!("three inputs expected") };
        let output = (self.part)(x, prefix, flat)?;
        // Its gradient with respect to the output is `grad`.
        let mut gradients = (output * grad)?.sum_all()?.backward()?;
        Ok(leaves.iter().map(|leaf| gradients.remove(leaf)).collect())
    }
}
