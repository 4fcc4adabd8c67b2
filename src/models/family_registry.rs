//! Which families of backbones there are.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::Device;
use serde_json::{Value, json};

use super::{
    backbone::{Backbone, Dims, Module},
    backbone_spec::{BackboneSpec, Dtype},
    bert, chatglm,
    decoder::Decoder,
    encoder::Encoder,
    llama,
    weights::{
        harmless,
        loader::Loader,
        model_config::{Config, ConfigTable, advised},
        open::Weights,
    },
};
use crate::{
    base::error::{Error, Result},
    config::suggest,
};

/// A way to compute a backbone.
struct Family {
    name: &'static str,
    /// Reads every key that changes what is computed.
    dims: fn(&Config) -> Result<Dims>,
    modules: fn(&Dims) -> Vec<Module>,
    build: Build,
    /// The linear layers that LoRA usually changes.
    targets: &'static [&'static str],
    /// The linear layer that reads what attention saw.
    attention_output: &'static str,
    /// Keys of `config.json` and tensors that change nothing, by their names.
    harmless: Harmless,
}

struct Harmless {
    keys: &'static [&'static str],
    tensors: &'static [&'static str],
}

enum Build {
    Decoder(fn(&Loader) -> Result<Decoder>),
    Encoder(fn(&Loader) -> Result<Encoder>),
}

/// One line per family.
const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        dims: llama::dims,
        modules: llama::modules,
        build: Build::Decoder(llama::load),
        targets: &["q_proj", "v_proj"],
        attention_output: "o_proj",
        harmless: Harmless { keys: llama::HARMLESS_KEYS, tensors: llama::HARMLESS_TENSORS },
    },
    Family {
        name: "chatglm",
        dims: chatglm::dims,
        modules: chatglm::modules,
        build: Build::Decoder(chatglm::load),
        targets: &["query_key_value"],
        attention_output: "self_attention.dense",
        harmless: Harmless { keys: chatglm::HARMLESS_KEYS, tensors: chatglm::HARMLESS_TENSORS },
    },
    Family {
        name: "bert",
        dims: bert::dims,
        modules: bert::modules,
        build: Build::Encoder(bert::load),
        targets: &["query", "value"],
        attention_output: "attention.output.dense",
        harmless: Harmless { keys: bert::HARMLESS_KEYS, tensors: bert::HARMLESS_TENSORS },
    },
];

fn family(name: &str) -> Result<&'static Family> {
    FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|f| f.name).collect();
        Error::input(format!("there is no model family `{name}`")).help(match suggest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("families are: {}", names.join(", ")),
        })
    })
}

/// What a configuration says of a backbone's dimensions; no weights are needed.
///
/// # Errors
/// If a key isn't understood: then the model may not be what the family computes.
pub fn dims(family_name: &str, config: &Config) -> Result<Dims> {
    family(family_name)?.check(config)
}

impl Family {
    /// Every key is read, or harmless, or refused.
    fn check(&self, config: &Config) -> Result<Dims> {
        let check = || {
            let dims = (self.dims)(config)?;
            config.expect("quantization_config", Value::Null)?;
            config.expect("is_encoder_decoder", false)?;
            config.expect("add_cross_attention", false)?;
            config.expect("pruned_heads", json!({}))?;
            config.refuse_unread(&[harmless::CONFIG, self.harmless.keys])?;
            Ok(dims)
        };
        advised(check())
    }
}

impl BackboneSpec {
    /// Dimensions, where the pipeline file states them; the weights aren't needed.
    ///
    /// # Errors
    /// As [`dims`].
    pub fn dims(&self) -> Result<Option<Dims>> {
        if self.config.is_empty() {
            return Ok(None);
        }
        dims(&self.family, &Config::of_table(&self.config)).map(Some)
    }
}

/// The linear layers of a backbone of these dimensions; no weights are needed.
///
/// # Errors
/// If there is no such family.
pub fn modules(family_name: &str, dims: &Dims) -> Result<Vec<Module>> {
    Ok((family(family_name)?.modules)(dims))
}

/// Whether models of a family have no words to answer with, so that they need a classification head.
///
/// # Errors
/// If there is no such family.
pub fn is_encoder(family_name: &str) -> Result<bool> {
    Ok(matches!(family(family_name)?.build, Build::Encoder(_)))
}

/// The linear layers that LoRA changes where a method names none.
///
/// # Errors
/// If there is no such family.
pub fn usual_targets(family_name: &str) -> Result<&'static [&'static str]> {
    Ok(family(family_name)?.targets)
}

/// The end of the paths of the linear layers that read what attention saw.
///
/// # Errors
/// If there is no such family.
pub fn attention_output(family_name: &str) -> Result<&'static str> {
    Ok(family(family_name)?.attention_output)
}

/// A backbone from its files (name inside the artifact, and path).
///
/// # Errors
/// If there is no such family, or the files aren't those of a model that it computes, every part of it.
pub fn load(spec: &BackboneSpec, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Box<dyn Backbone>> {
    build(spec, &Weights::open(files, &spec.config)?, device)
}

/// A backbone in the shape of `spec`'s configuration, with random weights: to measure what it costs.
///
/// # Errors
/// If there is no such family, or the configuration isn't understood.
pub fn load_random(spec: &BackboneSpec, device: &Device) -> Result<Box<dyn Backbone>> {
    build(spec, &Weights::random(Config::of_table(&spec.config)), device)
}

/// Products of f16 with f16 sums overflow in backward, and cuBLAS has none of f16 with f32.
fn check(dtype: Dtype, device: &Device) -> Result<()> {
    if dtype == Dtype::F16 && device.is_cuda() {
        return Err(Error::input("CUDA devices compute with `dtype = \"bf16\"` or `\"f32\"`, not with f16")
            .help("set `dtype = \"bf16\"`: weights that were published in f16 are converted as they are read"));
    }
    Ok(())
}

fn build(spec: &BackboneSpec, weights: &Weights, device: &Device) -> Result<Box<dyn Backbone>> {
    let family = family(&spec.family)?;
    with(family, weights, spec.dtype, device, |loader| -> Result<Box<dyn Backbone>> {
        Ok(match family.build {
            Build::Decoder(load) => Box::new(load(loader)?),
            Build::Encoder(load) => Box::new(load(loader)?),
        })
    })
}

/// What `load` makes of `weights`, of which nothing may be left that isn't known.
fn with<T>(
    family: &Family,
    weights: &Weights,
    dtype: Dtype,
    device: &Device,
    load: impl FnOnce(&Loader) -> Result<T>,
) -> Result<T> {
    check(dtype, device)?;
    family.check(weights.config())?;
    let loaded = load(&Loader::new(weights, dtype, device))?;
    weights.refuse_unread(&[family.harmless.tensors])?;
    Ok(loaded)
}

/// As [`load`], in f32 and with the configuration that the files bring, for those who need the weights themselves.
///
/// # Errors
/// As [`load`]; if the family is of the other sort.
pub fn load_decoder(family_name: &str, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Decoder> {
    load_decoder_as(family_name, files, Dtype::F32, device)
}

/// As [`load_decoder`], with matrices in `dtype`.
///
/// # Errors
/// As [`load`]; if the family is of the other sort.
pub fn load_decoder_as(
    family_name: &str,
    files: &BTreeMap<String, PathBuf>,
    dtype: Dtype,
    device: &Device,
) -> Result<Decoder> {
    let family = family(family_name)?;
    match family.build {
        Build::Decoder(load) => with(family, &Weights::open(files, &ConfigTable::new())?, dtype, device, load),
        Build::Encoder(_) => Err(Error::input(format!("`{family_name}` is a family of encoders"))),
    }
}

/// As [`load_decoder`].
///
/// # Errors
/// As [`load`]; if the family is of the other sort.
pub fn load_encoder(family_name: &str, files: &BTreeMap<String, PathBuf>, device: &Device) -> Result<Encoder> {
    load_encoder_as(family_name, files, Dtype::F32, device)
}

/// As [`load_encoder`], with matrices in `dtype`.
///
/// # Errors
/// As [`load`]; if the family is of the other sort.
pub fn load_encoder_as(
    family_name: &str,
    files: &BTreeMap<String, PathBuf>,
    dtype: Dtype,
    device: &Device,
) -> Result<Encoder> {
    let family = family(family_name)?;
    match family.build {
        Build::Encoder(load) => with(family, &Weights::open(files, &ConfigTable::new())?, dtype, device, load),
        Build::Decoder(_) => Err(Error::input(format!("`{family_name}` is a family of decoders"))),
    }
}
