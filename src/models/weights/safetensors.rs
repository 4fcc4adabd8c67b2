//! Safetensors files.

use std::{collections::BTreeMap, path::Path};

use safetensors::tensor::{Dtype, Metadata};

use super::{
    model_files::Files,
    number_format::Number,
    shard_choice,
    shards::Shards,
    stored::{Stored, row_major},
    weight_file::{WeightFile, damaged, read_or_damaged},
    weight_format::{ChosenFiles, OpenedWeights, WeightFormat},
};
use crate::base::{
    error::{At, Result},
    strict_json,
};

const WHAT: &str = "a whole safetensors file";

/// Bytes that hold the header's length.
const PREFIX: u64 = 8;

/// Far above what describes the tensors of any file. (The format allows 100 MB, which would take gigabytes to read.)
const LARGEST_HEADER: u64 = 16 << 20;

/// `.safetensors`, one file or several with an index.
pub struct Safetensors;

impl WeightFormat for Safetensors {
    fn has(&self, name: &str) -> bool {
        name.ends_with(".safetensors")
    }

    fn choose(&self, files: &Files) -> Result<Option<ChosenFiles>> {
        shard_choice::choose(files, ".safetensors.index.json", |name| self.has(name))
    }

    fn open(&self, chosen: ChosenFiles) -> Result<OpenedWeights> {
        Ok(OpenedWeights { tensors: Box::new(Shards::open(chosen, list)?), config: None })
    }
}

/// The tensors of one file, by name.
fn list(name: &str, path: &Path) -> Result<BTreeMap<String, Stored>> {
    let file = WeightFile::open(name, path)?;
    let prefix = read_or_damaged(&file, 0, PREFIX as usize, WHAT)?;
    let header = prefix.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    if header > LARGEST_HEADER {
        return Err(damaged(WHAT, format!("a header of {header} bytes"))).at(name);
    }
    let json = read_or_damaged(&file, PREFIX, header as usize, WHAT)?;
    let mut names = strict_json::keys(&json).map_err(|e| damaged(WHAT, e)).at(name)?;
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(damaged(WHAT, format!("tensor `{}` is there twice", pair[0]))).at(name);
    }
    // Checks that offsets follow one another, and that they agree with shapes.
    let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| damaged(WHAT, e)).at(name)?;
    let data = PREFIX + header;
    let end = data + metadata.data_len() as u64;
    if end != file.len {
        return Err(damaged(WHAT, format!("{} bytes, where its header asks for {end}", file.len))).at(name);
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let stored = Stored {
            file: file.clone(),
            number: number(info.dtype),
            strides: row_major(&info.shape),
            shape: info.shape.clone(),
            at: data + info.data_offsets.0 as u64,
        };
        (name, stored)
    });
    Ok(tensors.collect())
}

fn number(dtype: Dtype) -> Number {
    match dtype {
        Dtype::F32 => Number::F32,
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F64 => Number::Other("float64", 8),
        Dtype::I64 => Number::Other("int64", 8),
        Dtype::I32 => Number::Other("int32", 4),
        Dtype::I8 => Number::Other("int8", 1),
        Dtype::U8 => Number::Other("uint8", 1),
        other => Number::Other("neither float nor integer of usual size", other.bitsize().div_ceil(8)),
    }
}
