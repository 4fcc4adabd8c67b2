//! `config.json` with `.safetensors`, in one piece or sharded by an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, safetensors::MmapedSafetensors};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::Config;
use crate::error::{At, Error, IoAt, Result};

/// Open, memory-mapped shards.
pub struct Files {
    tensors: MmapedSafetensors,
    names: String,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn named<'a>(files: &'a BTreeMap<String, PathBuf>, suffix: &str) -> Option<(&'a str, &'a Path)> {
    files.iter().find(|(name, _)| name.ends_with(suffix)).map(|(name, path)| (name.as_str(), path.as_path()))
}

fn read_json<T: serde::de::DeserializeOwned>(name: &str, path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).io_at("read", path)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::input(format!("{name}: {e}")).help("the file is damaged: fetch it again"))
}

pub fn open(files: &BTreeMap<String, PathBuf>) -> Result<(Config, Files)> {
    let have = || files.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let Some((name, path)) = named(files, "config.json") else {
        return Err(Error::input(format!("no config.json among the model's files: {}", have()))
            .help("a model needs config.json and .safetensors, or one .gguf"));
    };
    let config = Config::new(name, read_json::<Map<String, Value>>(name, path)?);
    let shards: Vec<(&str, &Path)> = match named(files, ".safetensors.index.json") {
        Some((name, path)) => {
            let index: Index = read_json(name, path)?;
            let wanted: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
            let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let find = |shard: &&str| {
                files
                    .get_key_value(&format!("{folder}{shard}"))
                    .map(|(name, path)| (name.as_str(), path.as_path()))
                    .ok_or_else(|| {
                        Error::input(format!(
                            "{name} names the shard `{shard}`, which isn't among the model's files: {}",
                            have()
                        ))
                        .help("add the shard to the model's `source`")
                    })
            };
            wanted.iter().map(find).collect::<Result<_>>()?
        }
        None => {
            files.iter().filter(|(n, _)| n.ends_with(".safetensors")).map(|(n, p)| (n.as_str(), p.as_path())).collect()
        }
    };
    if shards.is_empty() {
        return Err(Error::input(format!("no .safetensors among the model's files: {}", have())));
    }
    // Each by itself first, so that a damaged shard is named.
    for (name, path) in &shards {
        map(&[path]).at(name)?;
    }
    let paths: Vec<&Path> = shards.iter().map(|(_, path)| *path).collect();
    let names = shards.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Ok((config, Files { tensors: map(&paths)?, names }))
}

fn map(paths: &[&Path]) -> Result<MmapedSafetensors> {
    // SAFETY: weight files are read-only artifacts that nobody changes while they are in use.
    let opened = unsafe { MmapedSafetensors::multi(paths) };
    opened.map_err(|e| {
        Error::input(format!("not a whole safetensors file ({e})"))
            .help("the file is cut short or damaged: fetch it again")
    })
}

impl Files {
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).ok().map(|t| t.shape().to_vec())
    }

    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let read = || self.tensors.load(name, device)?.to_dtype(DType::F32);
        read().at(format!("tensor `{name}` of {}", self.names))
    }
}
