//! The sizes of a backbone: its parameters, bytes and operations.

use super::row::Row;
use crate::{
    base::{error::Result, machine::Device},
    models::{Backbone, BackboneShape, BackboneSpec, Dims, Dtype, Module, attention_output, is_encoder, modules},
};

/// Bytes of an f32.
pub(super) const F32: u64 = 4;

/// A backbone as it lies in memory.
#[derive(Debug, Clone)]
pub struct ModelShape {
    pub dims: Dims,
    pub dtype: Dtype,
    pub(super) modules: Vec<Module>,
    pub(super) encoder: bool,
    /// Where the memory is.
    pub device: Device,
    /// The end of the paths of the layers that read what attention saw.
    pub(super) attention_output: &'static str,
}

impl ModelShape {
    /// None where the pipeline file doesn't state the model's configuration.
    ///
    /// # Errors
    /// If that configuration can't be understood.
    pub fn of(model: &BackboneSpec, device: Device) -> Result<Option<Self>> {
        let Some(dims) = model.dims()? else { return Ok(None) };
        Self::with(model, device, dims, modules(&model.family, &dims)?).map(Some)
    }

    /// A model that was loaded, whatever its pipeline file states.
    ///
    /// # Errors
    /// If there is no such family.
    pub fn of_loaded(model: &BackboneSpec, device: Device, backbone: &dyn Backbone) -> Result<Self> {
        Self::with(model, device, backbone.dims(), backbone.modules())
    }

    fn with(model: &BackboneSpec, device: Device, dims: Dims, modules: Vec<Module>) -> Result<Self> {
        let (encoder, attention_output) = (is_encoder(&model.family)?, attention_output(&model.family)?);
        Ok(Self { dims, dtype: model.dtype, modules, encoder, device, attention_output })
    }

    /// Numbers in the model.
    pub fn parameters(&self) -> u64 {
        self.matrices() + self.vectors()
    }

    fn matrices(&self) -> u64 {
        let ends = if self.dims.tied { 1 } else { 2 } * self.embedding();
        ends + self.modules.iter().map(|m| (m.inputs * m.outputs) as u64).sum::<u64>()
    }

    fn embedding(&self) -> u64 {
        (self.dims.vocab * self.dims.hidden) as u64
    }

    /// Norms and biases, and an encoder's positions: what is f32 whatever the model's number format.
    fn vectors(&self) -> u64 {
        let d = &self.dims;
        if self.encoder {
            let biases: usize = self.modules.iter().map(|m| m.outputs).sum();
            let norms = 2 * d.hidden * (2 * d.layers + 1);
            return (biases + norms + d.max_positions * d.hidden) as u64;
        }
        let bias = [
            (d.qkv_bias, d.q_width() + 2 * d.kv_width()),
            (d.output_bias, d.hidden),
            (d.mlp_bias, 2 * d.intermediate + d.hidden),
        ];
        let bias: usize = bias.iter().filter(|(there, _)| *there).map(|(_, numbers)| numbers).sum();
        (d.layers * (2 * d.hidden + bias) + d.hidden) as u64
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        self.matrices() * self.dtype.bytes() as u64 + self.vectors() * F32
    }

    /// Floating-point operations of one pass over a row, those of linear layers alone.
    pub fn operations(&self, row: Row) -> f64 {
        let layers: f64 = self.modules.iter().map(|m| (m.inputs * m.outputs) as f64).sum();
        let output = if self.encoder { 0.0 } else { self.embedding() as f64 };
        2.0 * (layers * row.tokens as f64 + output * row.predicting as f64)
    }

    /// What adapters see of the backbone.
    pub fn backbone(&self) -> BackboneShape<'_> {
        BackboneShape { dims: &self.dims, modules: &self.modules }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// SmolLM2-135M in f32 on a CPU.
    pub fn smollm2() -> ModelShape {
        let model: BackboneSpec = serde_json::from_value(json!({
            "family": "llama", "dtype": "f32", "config": {
                "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
                "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                "max_position_embeddings": 8192, "tie_word_embeddings": true,
            },
        }))
        .unwrap();
        ModelShape::of(&model, Device::Cpu).unwrap().unwrap()
    }
}
