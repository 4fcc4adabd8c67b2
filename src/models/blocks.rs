//! What decoders and encoders have in common.

use candle_core::{DType, Device, Tensor};

use super::{adapters::Adapter, backbone::Dims};
use crate::base::error::{Error, Result};

/// Token ids, `[tokens]`, are below `vocab`.
///
/// # Errors
/// If one isn't.
pub fn check_ids(ids: &[u32], vocab: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(id) => Err(Error::input(format!("token {id} isn't in the model's vocabulary of {vocab}"))
            .help("the tokenizer belongs to another model")),
        None => Ok(()),
    }
}

/// Each layer's prefix as `[2, virtual_tokens, kv_heads * head_dim]`; `virtual_tokens` is 0 where the adapter has none.
///
/// # Errors
/// If the adapter has prefixes for another number of layers.
pub fn prefixes(adapter: &dyn Adapter, dims: Dims, device: &Device) -> Result<Vec<Tensor>> {
    match adapter.prefix()? {
        // Of a row, since CUDA drivers refuse to hand out nothing.
        None => Ok(vec![Tensor::zeros((2, 1, dims.kv_width()), DType::F32, device)?.narrow(1, 0, 0)?; dims.layers]),
        Some(prefixes) if prefixes.len() == dims.layers => Ok(prefixes),
        Some(prefixes) => Err(Error::input(format!(
            "the adapter has prefixes for {} layers, and the backbone has {}",
            prefixes.len(),
            dims.layers
        ))),
    }
}
