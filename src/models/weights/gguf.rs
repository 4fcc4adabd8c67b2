//! GGUF: one file with tensors, which are de-quantised on load, and what it says of the model.

mod gguf_config;
mod gguf_names;
mod gguf_places;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor, quantized::ggml_file::qtensor_from_ggml};

use self::{
    gguf_config::Tensors,
    gguf_names::stored_name,
    gguf_places::{check_places, extent},
};
use super::{
    config_bounds::most,
    model_config::Config,
    model_files::Files,
    number_format::from_numbers,
    weight_file::WeightFile,
    weight_format::{ChosenFiles, OpenedWeights, TensorSource, WeightFormat},
};
use crate::base::{
    error::{At, Error, Result},
    gguf_header::{self, Header},
};

/// One `.gguf`. Publishers lay several beside each other, one for each quantisation.
pub struct Gguf;

impl WeightFormat for Gguf {
    fn has(&self, name: &str) -> bool {
        name.ends_with(".gguf")
    }

    fn stands_alone(&self) -> bool {
        true
    }

    fn has_config(&self) -> bool {
        true
    }

    fn choose(&self, files: &Files) -> Result<Option<ChosenFiles>> {
        let one = files.iter().find(|(name, _)| self.has(name));
        Ok(one.map(|(name, path)| ChosenFiles { index: None, files: [(name.clone(), path.clone())].into() }))
    }

    fn open(&self, chosen: ChosenFiles) -> Result<OpenedWeights> {
        let (name, path) = chosen.files.first_key_value().ok_or_else(|| Error::internal("no file was chosen"))?;
        let (file, config) = GgufFile::open(name, path)?;
        Ok(OpenedWeights { tensors: Box::new(file), config: Some(config) })
    }
}

/// An open file.
struct GgufFile {
    file: Arc<WeightFile>,
    header: Header,
    /// Rows of queries and keys come in the order of interleaved rotary pairs, and how many heads they have.
    interleaved: Option<(usize, usize)>,
}

impl GgufFile {
    /// The file, and what it says of the model.
    fn open(name: &str, path: &Path) -> Result<(Self, Config)> {
        let file = WeightFile::open(name, path)?;
        let header = Header::read(path).at(name)?;
        check_places(&header, file.len).at(name)?;
        let mut opened = Self { file, header, interleaved: None };
        let tensors = Tensors {
            vocab: opened.find("model.embed_tokens.weight").and_then(|t| t.shape.first().copied()),
            head: opened.find("lm_head.weight").is_some(),
            biases: (
                opened.find("model.layers.0.self_attn.q_proj.bias").is_some(),
                opened.find("model.layers.0.mlp.up_proj.bias").is_some(),
            ),
        };
        let config = gguf_config::config(name, &opened.header.metadata, &tensors)?;
        if config.text("model_type")? == "llama" {
            let heads = |key: &str| config.size(key, most::HEADS);
            opened.interleaved = Some((heads("num_attention_heads")?, heads("num_key_value_heads")?));
        }
        Ok((opened, config))
    }

    fn find(&self, name: &str) -> Option<&gguf_header::Tensor> {
        self.header.tensors.get(&stored_name(name)?)
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.find(name).ok_or_else(|| Error::internal("the tensor is gone"))?;
        let (kind, bytes) = extent(tensor)?;
        let raw = self.file.read(tensor.at, bytes).map_err(Error::environment)?;
        let tensor = qtensor_from_ggml(kind, &raw, tensor.shape.clone(), &Device::Cpu)?.dequantize(&Device::Cpu)?;
        drop(raw);
        let tensor = match self.interleaved {
            Some((heads, _)) if name.contains(".q_proj.") => halves(&tensor, heads)?,
            Some((_, heads)) if name.contains(".k_proj.") => halves(&tensor, heads)?,
            _ => tensor,
        };
        let shape = tensor.dims().to_vec();
        from_numbers(tensor.flatten_all()?.to_vec1()?, &shape, dtype, device)
    }
}

impl TensorSource for GgufFile {
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.find(name).map(|tensor| tensor.shape.clone()))
    }

    fn place(&self, _: &str) -> Result<String> {
        Ok(self.file.name.clone())
    }

    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.read(name, dtype, device).at(format!("tensor `{name}`")).at(&self.file.name)
    }

    fn stored_name(&self, name: &str) -> String {
        stored_name(name).unwrap_or_default()
    }

    fn all(&self) -> BTreeMap<&str, &str> {
        self.header.tensors.keys().map(|name| (name.as_str(), self.file.name.as_str())).collect()
    }
}

/// Row `(head, i, half)` of interleaved pairs becomes row `(head, half, i)`.
fn halves(tensor: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let rows = tensor.dim(0)?;
    let rest = tensor.elem_count() / rows;
    let pairs = rows / heads / 2;
    tensor.reshape((heads, pairs, 2, rest))?.transpose(1, 2)?.contiguous()?.reshape(tensor.shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_back_in_halves() {
        let x = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((8, 1)).unwrap();
        let y = halves(&x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
