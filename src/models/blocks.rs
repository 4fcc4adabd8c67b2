//! What decoders and encoders have in common.

use std::sync::Arc;

use candle_core::{DType, Device, Result as Candle, Tensor};

use super::{
    Dims,
    adapters::Adapter,
    autograd::{Backward, Input, record},
    ops::attention::{self, Heads, Pattern},
};
use crate::error::{Error, Result};

pub fn check_ids(ids: &[u32], vocab: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(id) => Err(Error::input(format!("token {id} isn't in the model's vocabulary of {vocab}"))
            .help("the tokenizer belongs to another model")),
        None => Ok(()),
    }
}

/// Each layer's prefix as `[2, virtual_tokens, kv_heads * head_dim]`; `virtual_tokens` is 0 where the adapter has none.
pub fn prefixes(adapter: &dyn Adapter, dims: Dims, device: &Device) -> Result<Vec<Tensor>> {
    let width = dims.kv_width();
    match adapter.prefix()? {
        None => Ok(vec![Tensor::zeros((2, 0, width), DType::F32, device)?; dims.layers]),
        Some(prefixes) if prefixes.len() == dims.layers => prefixes
            .iter()
            .map(|p| {
                let flat = |t: &Tensor| t.reshape((t.dim(0)?, width));
                Ok(Tensor::stack(&[flat(&p.keys)?, flat(&p.values)?], 0)?)
            })
            .collect(),
        Some(prefixes) => Err(Error::input(format!(
            "the adapter has prefixes for {} layers, and the backbone has {}",
            prefixes.len(),
            dims.layers
        ))),
    }
}

/// Differentiable [`attention::forward`].
pub fn attend(qkv: &Tensor, prefix: &Tensor, heads: Heads, pattern: &Arc<Pattern>) -> Candle<Tensor> {
    let out = attention::forward(&qkv.detach(), &prefix.detach(), heads, pattern)?;
    record(&[qkv, prefix], out, Attention { heads, pattern: pattern.clone() })
}

struct Attention {
    heads: Heads,
    pattern: Arc<Pattern>,
}

impl Backward for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, inputs: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        let [qkv, prefix] = inputs else { candle_core::bail!("two inputs expected") };
        let (d_qkv, d_prefix) = attention::backward(&qkv.tensor, &prefix.tensor, grad, self.heads, &self.pattern)?;
        Ok(vec![Some(d_qkv), Some(d_prefix)])
    }
}
