//! GGUF, de-quantised on load.

use std::path::Path;

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};

use super::{
    gguf_config::{self, Tensors},
    model_config::{Config, most},
    stored::{WeightFile, from_numbers},
};
use crate::base::{
    error::{At, Error, Result},
    gguf_header::{self, Header},
};

/// An open file.
pub struct File {
    file: std::sync::Arc<WeightFile>,
    header: Header,
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

/// ggml's types that are read, by number.
const KINDS: [(u32, GgmlDType); 13] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (30, GgmlDType::BF16),
];

/// The file's name of a tensor that the reference calls `name`.
pub fn stored_name(name: &str) -> Option<String> {
    let (path, kind) = name.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], key: &str| table.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if let Some(top) = find(TOP, path) {
        return Some(format!("{top}.{kind}"));
    }
    let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
    Some(format!("blk.{layer}.{}.{kind}", find(LAYER, part)?))
}

impl File {
    /// The file, and what it says of the model.
    pub fn open(name: &str, path: &Path) -> Result<(Self, Config)> {
        let file = WeightFile::open(name, path)?;
        let header = Header::read(path).at(name)?;
        check_places(&header, file.len).at(name)?;
        let mut opened = Self { file, header, interleaved: None };
        let tensors = Tensors {
            vocab: opened.shape("model.embed_tokens.weight").and_then(|s| s.first().copied()),
            head: opened.shape("lm_head.weight").is_some(),
            biases: (
                opened.shape("model.layers.0.self_attn.q_proj.bias").is_some(),
                opened.shape("model.layers.0.mlp.up_proj.bias").is_some(),
            ),
        };
        let config = gguf_config::config(name, &opened.header.metadata, &tensors)?;
        if config.text("model_type")? == "llama" {
            let heads = |key: &str| config.size(key, most::HEADS);
            opened.interleaved = Some((heads("num_attention_heads")?, heads("num_key_value_heads")?));
        }
        Ok((opened, config))
    }

    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// The names of all tensors, as the file has them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    fn find(&self, name: &str) -> Option<&gguf_header::Tensor> {
        self.header.tensors.get(&stored_name(name)?)
    }

    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.find(name)?.shape.clone())
    }

    pub fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.read(name, dtype, device).at(format!("tensor `{name}`")).at(self.name())
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

/// Each tensor is of a type that can be read, and lies inside the file, in a place of its own.
fn check_places(header: &Header, len: u64) -> Result<()> {
    let mut places = Vec::with_capacity(header.tensors.len());
    for (name, tensor) in &header.tensors {
        let (_, bytes) = extent(tensor).at(format!("tensor `{name}`"))?;
        let end = tensor.at.checked_add(bytes as u64).filter(|end| *end <= len);
        let end = end.ok_or_else(|| damaged(format!("tensor `{name}` lies beyond its end, {len} bytes")))?;
        places.push((tensor.at, end, name));
    }
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(damaged(format!("tensors `{}` and `{}` lie one over the other", pair[0].2, pair[1].2))),
        None => Ok(()),
    }
}

/// How a tensor is stored, and in how many bytes.
fn extent(tensor: &gguf_header::Tensor) -> Result<(GgmlDType, usize)> {
    let Some((_, kind)) = KINDS.iter().find(|(number, _)| *number == tensor.kind) else {
        let known: Vec<_> = KINDS.iter().map(|(_, kind)| format!("{kind:?}")).collect();
        return Err(Error::input(format!("its numbers are of ggml's type {}, which isn't read", tensor.kind))
            .help(format!("choose a file with other types; these are read: {}", known.join(", "))));
    };
    let (block, size) = (kind.block_size(), kind.type_size());
    if tensor.shape.last().is_some_and(|columns| columns % block != 0) {
        return Err(damaged(format!("rows of {:?} in blocks of {block}", tensor.shape)));
    }
    let count = tensor.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = count.and_then(|n| (n / block).checked_mul(size));
    Ok((*kind, bytes.ok_or_else(|| damaged(format!("a tensor of shape {:?}", tensor.shape)))?))
}

fn damaged(e: impl std::fmt::Display) -> Error {
    super::stored::damaged("a whole GGUF file", e)
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
        assert_eq!(stored_name("model.layers.3.self_attn.q_proj.weight").unwrap(), "blk.3.attn_q.weight");
        assert_eq!(stored_name("model.norm.weight").unwrap(), "output_norm.weight");
        assert_eq!(stored_name("model.layers.3.nonsense.weight"), None);
    }

    #[test]
    fn rows_are_put_back_in_halves() {
        let x = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((8, 1)).unwrap();
        let y = halves(&x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    fn header(tensors: &[(&str, u32, &[usize], u64)]) -> Header {
        let tensor = |(name, kind, shape, at): &(&str, u32, &[usize], u64)| {
            ((*name).to_owned(), gguf_header::Tensor { kind: *kind, shape: shape.to_vec(), at: *at })
        };
        Header { metadata: Default::default(), tensors: tensors.iter().map(tensor).collect() }
    }

    #[test]
    fn tensors_lie_inside_the_file_and_apart() {
        let fine = header(&[("a", 0, &[2, 4], 0), ("b", 2, &[2, 32], 32)]);
        check_places(&fine, 32 + 2 * 18).unwrap();
        for (tensors, len, part) in [
            (header(&[("a", 0, &[2, 4], 8)]), 32, "`a` lies beyond its end"),
            (header(&[("a", 0, &[2, 4], u64::MAX)]), 32, "`a` lies beyond its end"),
            (header(&[("a", 0, &[usize::MAX, 4], 0)]), 32, "a tensor of shape"),
            (header(&[("a", 0, &[2, 4], 0), ("b", 0, &[1], 28)]), 64, "`a` and `b` lie one over the other"),
            (header(&[("a", 2, &[32, 2], 0)]), 64, "blocks of 32"),
            (header(&[("a", 16, &[256], 0)]), 4096, "tensor `a`: its numbers are of ggml's type 16"),
        ] {
            let e = check_places(&tensors, len).unwrap_err();
            assert!(e.message.contains(part) && e.help.is_some(), "{e}");
        }
    }
}
