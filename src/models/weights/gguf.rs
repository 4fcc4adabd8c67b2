//! GGUF, de-quantised on load.

use std::{fs, io::BufReader, path::Path};

use candle_core::{
    DType, Device, Tensor,
    quantized::gguf_file::{Content, Value},
};
use serde_json::{Map, json};

use super::config::Config;
use crate::error::{At, Error, IoAt, Result};

/// An open file.
pub struct File {
    name: String,
    file: fs::File,
    content: Content,
    /// Rows of queries and keys come in the order of interleaved rotary pairs, and how many heads they have.
    interleaved: Option<(usize, usize)>,
}

/// Reference name of a layer's tensor, and GGUF's.
const LAYER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const TOP: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

fn gguf_name(name: &str) -> Option<String> {
    let (path, kind) = name.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], key: &str| table.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if let Some(top) = find(TOP, path) {
        return Some(format!("{top}.{kind}"));
    }
    let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
    Some(format!("blk.{layer}.{}.{kind}", find(LAYER, part)?))
}

fn damaged(e: impl std::fmt::Display) -> Error {
    Error::input(format!("not a whole GGUF file ({e})")).help("the file is cut short or damaged: fetch it again")
}

impl File {
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let file = fs::File::open(path).io_at("open", path)?;
        let size = file.metadata().io_at("read", path)?.len();
        let content = Content::read(&mut BufReader::new(&file)).map_err(damaged).at(name)?;
        for (tensor, info) in &content.tensor_infos {
            let blocks = info.shape.elem_count().div_ceil(info.ggml_dtype.block_size());
            let end = blocks
                .checked_mul(info.ggml_dtype.type_size())
                .and_then(|size| (size as u64).checked_add(info.offset))
                .and_then(|end| end.checked_add(content.tensor_data_offset));
            if end.is_none_or(|end| end > size) {
                return Err(damaged(format!("tensor `{tensor}` lies beyond its end, {size} bytes"))).at(name);
            }
        }
        let mut file = Self { name: name.to_owned(), file, content, interleaved: None };
        if file.architecture()? == "llama" {
            let heads = file.number("attention.head_count")? as usize;
            file.interleaved = Some((heads, file.number_or("attention.head_count_kv", heads as f64)? as usize));
        }
        Ok(file)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn architecture(&self) -> Result<&str> {
        match self.content.metadata.get("general.architecture") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Error::input("`general.architecture` is missing").at(&self.name)),
        }
    }

    fn number(&self, key: &str) -> Result<f64> {
        let key = format!("{}.{key}", self.architecture()?);
        let value = self.content.metadata.get(&key);
        let value = value.ok_or_else(|| Error::input(format!("`{key}` is missing")).at(&self.name))?;
        as_number(value).ok_or_else(|| Error::input(format!("`{key}` isn't a number")).at(&self.name))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        let full = format!("{}.{key}", self.architecture()?);
        if self.content.metadata.contains_key(&full) { self.number(key) } else { Ok(default) }
    }

    /// The metadata under the names of a `config.json`.
    pub fn config(&self) -> Result<Config> {
        let architecture = self.architecture()?;
        if let Some(Value::String(kind)) = self.content.metadata.get(&format!("{architecture}.rope.scaling.type"))
            && kind != "none"
        {
            return Err(Error::input(format!("rotary scaling `{kind}` isn't supported")).at(&self.name));
        }
        let (hidden, heads) = (self.number("embedding_length")?, self.number("attention.head_count")?);
        let vocab = self.shape("model.embed_tokens.weight").and_then(|s| s.first().copied());
        let values = json!({
            "model_type": architecture,
            "vocab_size": vocab,
            "hidden_size": hidden as u64,
            "intermediate_size": self.number("feed_forward_length")? as u64,
            "num_hidden_layers": self.number("block_count")? as u64,
            "num_attention_heads": heads as u64,
            "num_key_value_heads": self.number_or("attention.head_count_kv", heads)? as u64,
            "head_dim": self.number_or("attention.key_length", hidden / heads)? as u64,
            "max_position_embeddings": self.number("context_length")? as u64,
            // Stored as f32: 1e-5 should not become 9.999999747378752e-6.
            "rms_norm_eps": shortest(self.number("attention.layer_norm_rms_epsilon")?),
            "rope_theta": self.number_or("rope.freq_base", 10_000.0)?,
            "tie_word_embeddings": self.shape("lm_head.weight").is_none(),
        });
        let values = if let serde_json::Value::Object(values) = values { values } else { Map::new() };
        Ok(Config::new(&self.name, values))
    }

    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.content.tensor_infos.get(&gguf_name(name)?)?.shape.dims().to_vec())
    }

    pub fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let read = || -> candle_core::Result<Tensor> {
            let stored = gguf_name(name).unwrap_or_default();
            let tensor = self
                .content
                .tensor(&mut BufReader::new(&self.file), &stored, &Device::Cpu)?
                .dequantize(&Device::Cpu)?;
            let tensor = match self.interleaved {
                Some((heads, _)) if name.contains(".q_proj.") => halves(&tensor, heads)?,
                Some((_, heads)) if name.contains(".k_proj.") => halves(&tensor, heads)?,
                _ => tensor,
            };
            tensor.to_dtype(dtype)?.to_device(device)
        };
        read().map_err(damaged).at(format!("tensor `{name}`")).at(&self.name)
    }
}

fn as_number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::U8(v) => f64::from(*v),
        Value::U16(v) => f64::from(*v),
        Value::U32(v) => f64::from(*v),
        Value::U64(v) => *v as f64,
        Value::I32(v) => f64::from(*v),
        Value::I64(v) => *v as f64,
        Value::F32(v) => f64::from(*v),
        Value::F64(v) => *v,
        _ => return None,
    })
}

/// The number that the shortest decimal of an f32 stands for.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
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
    fn names_follow_the_reference() {
        assert_eq!(gguf_name("model.layers.3.self_attn.q_proj.weight").unwrap(), "blk.3.attn_q.weight");
        assert_eq!(gguf_name("model.norm.weight").unwrap(), "output_norm.weight");
        assert_eq!(gguf_name("model.layers.3.nonsense.weight"), None);
    }

    #[test]
    fn rows_are_put_back_in_halves() {
        let x = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((8, 1)).unwrap();
        let y = halves(&x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
