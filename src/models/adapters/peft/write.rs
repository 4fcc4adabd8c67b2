//! What all methods share when an adapter is written.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::tensors::check_finite;
use crate::base::error::{At, Error, Result};

/// A configuration with its keys in alphabetical order.
///
/// # Errors
/// None that a JSON value can cause.
pub fn pretty(mut value: Value) -> Result<Vec<u8>> {
    value.sort_all_objects();
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A safetensors file with its tensors, of any shapes `[...]`, in alphabetical order.
///
/// # Errors
/// If a number isn't finite: nobody could read it again.
pub fn weights(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let numbers = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        check_finite(name, &numbers).at("the adapter can't be saved")?;
        let raw: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        bytes.push((name, tensor.dims().to_vec(), raw));
    }
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, raw) in &bytes {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), raw).map_err(Error::internal)?));
    }
    safetensors::serialize(views, None).map_err(Error::internal)
}
