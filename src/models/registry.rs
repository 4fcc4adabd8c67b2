//! Which families of backbones there are.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::Device;

use super::{
    BackboneSpec, Decoder, Dims, Dtype, Module, chatglm, llama,
    spec::ConfigTable,
    weights::{Loader, Weights, config::Config},
};
use crate::error::{Error, Result};

/// A way to compute a backbone.
struct Family {
    name: &'static str,
    dims: fn(&Config) -> Result<Dims>,
    modules: fn(&Dims) -> Vec<Module>,
    load: fn(&Loader) -> Result<Decoder>,
}

/// One line per family.
const FAMILIES: &[Family] = &[
    Family { name: "llama", dims: llama::dims, modules: llama::modules, load: llama::load },
    Family { name: "chatglm", dims: chatglm::dims, modules: chatglm::modules, load: chatglm::load },
];

fn family(name: &str) -> Result<&'static Family> {
    FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|f| f.name).collect();
        Error::input(format!("there is no model family `{name}`")).help(format!("families are: {}", names.join(", ")))
    })
}

/// What a configuration says of a backbone's dimensions; no weights are needed.
pub fn dims(family_name: &str, config: &Config) -> Result<Dims> {
    (family(family_name)?.dims)(config)
}

/// The linear layers of a backbone of these dimensions; no weights are needed.
pub fn modules(family_name: &str, dims: &Dims) -> Result<Vec<Module>> {
    Ok((family(family_name)?.modules)(dims))
}

/// A backbone from its files (name inside the artifact, and path).
pub fn load(spec: &BackboneSpec, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Decoder> {
    let family = family(&spec.family)?;
    let weights = Weights::open(files, &spec.config)?;
    (family.load)(&Loader::new(&weights, spec.dtype, device))
}

/// As [`load`], in f32 and with the configuration that the files bring.
pub fn load_decoder(family: &str, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Decoder> {
    let spec = BackboneSpec { family: family.to_owned(), dtype: Dtype::F32, config: ConfigTable::new() };
    load(&spec, files, device)
}
