//! Which families of backbones there are.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::Device;

use super::{Backbone, Decoder, ModelSpec, llama, weights::Weights};
use crate::error::{Error, Result};

/// Name, and what builds it from its files.
type Family = (&'static str, fn(&Weights, &Device) -> Result<Decoder>);

/// One line per family.
const DECODERS: &[Family] = &[("llama", llama::load)];

/// A backbone from its files (name inside the artifact, and path).
pub fn load(spec: &ModelSpec, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Box<dyn Backbone>> {
    Ok(Box::new(load_decoder(&spec.family, files, device)?))
}

/// As [`load`], for those who need the weights themselves.
pub fn load_decoder(family: &str, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Decoder> {
    match DECODERS.iter().find(|(name, _)| *name == family) {
        Some((_, build)) => build(&Weights::open(files)?, device),
        None => {
            let names: Vec<_> = DECODERS.iter().map(|(name, _)| *name).collect();
            Err(Error::input(format!("there is no model family `{family}`"))
                .help(format!("families are: {}", names.join(", "))))
        }
    }
}
