//! PEFT's adapter files: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Adapter, Head, Lora, LoraSpec, PrefixTuning, SavedAdapter, Untrained, WithHead};
use crate::{
    error::{At, Error, Result},
    models::{Backbone, Dims},
};

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Where PEFT keeps a prefix: `[virtual_tokens, layers * 2 * kv_width]`.
pub(super) const PREFIX_NAME: &str = "prompt_embeddings";

pub(super) fn lora_name(path: &str, matrix: char) -> String {
    format!("base_model.model.{path}.lora_{matrix}.weight")
}

fn pretty(mut value: Value) -> Result<Vec<u8>> {
    value.sort_all_objects();
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn lora_config(spec: &LoraSpec, base_model: &str) -> Result<Vec<u8>> {
    // PEFT's own type is an integer.
    let alpha = if spec.alpha.fract() == 0.0 { json!(spec.alpha as i64) } else { json!(spec.alpha) };
    pretty(json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "r": spec.rank,
        "lora_alpha": alpha,
        "lora_dropout": spec.dropout,
        "target_modules": spec.target_modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
    }))
}

pub(super) fn prefix_config(dims: Dims, virtual_tokens: usize, base_model: &str) -> Result<Vec<u8>> {
    pretty(json!({
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "num_virtual_tokens": virtual_tokens,
        "num_layers": dims.layers,
        // PEFT counts the heads that keys and values have.
        "num_attention_heads": dims.kv_heads,
        "token_dim": dims.kv_width(),
        "num_transformer_submodules": 1,
        "encoder_hidden_size": dims.kv_width(),
        "prefix_projection": false,
    }))
}

/// Where PEFT keeps a head beside an adapter that wraps layers (LoRA), and beside one that doesn't (a prefix).
const HEAD_PLACES: [&str; 2] = ["base_model.model.", "base_model."];

/// `bare` with a head in PEFT's format for sequence classification (`SEQ_CLS`). PEFT has no format for a head alone; its
/// configuration then has `peft_type` null.
pub(super) fn save_head(bare: Option<SavedAdapter>, head: &Head, base_model: &str) -> Result<SavedAdapter> {
    let (mut config, mut tensors) = match bare {
        Some(bare) => {
            let tensors = candle_core::safetensors::load_buffer(&bare.weights, &Device::Cpu)?;
            (serde_json::from_slice(&bare.config)?, tensors.into_iter().collect::<BTreeMap<_, _>>())
        }
        None => {
            let config = json!({ "peft_type": null, "base_model_name_or_path": base_model, "inference_mode": true });
            (config, BTreeMap::new())
        }
    };
    config["task_type"] = json!("SEQ_CLS");
    let [wrapped, beside] = HEAD_PLACES;
    let place = if config["peft_type"] == "PREFIX_TUNING" {
        beside
    } else {
        config["modules_to_save"] = json!([head.name()]);
        wrapped
    };
    for (name, var) in head.named() {
        tensors.insert(format!("{place}{}.{name}", head.name()), var.as_detached_tensor());
    }
    Ok(SavedAdapter { config: pretty(config)?, weights: weights(&tensors)? })
}

/// A safetensors file with its tensors in alphabetical order.
pub(super) fn weights(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let numbers = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let raw: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        bytes.push((name, tensor.dims().to_vec(), raw));
    }
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, raw) in &bytes {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), raw).map_err(Error::internal)?));
    }
    safetensors::serialize(views, None).map_err(Error::internal)
}

#[derive(Deserialize)]
struct Kind {
    /// None: a head alone.
    peft_type: Option<String>,
}

#[derive(Deserialize)]
struct LoraConfig {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Vec<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct PrefixConfig {
    num_virtual_tokens: usize,
}

fn parse<T: serde::de::DeserializeOwned>(config: &[u8]) -> Result<T> {
    serde_json::from_slice(config).map_err(|e| Error::input(e).at(CONFIG_FILE))
}

/// The adapter in two files of PEFT's format, for `backbone`.
pub fn load(config: &[u8], weights: &[u8], backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
    let kind: Kind = parse(config)?;
    let stored = candle_core::safetensors::load_buffer(weights, backbone.device()).map_err(|e| {
        Error::input(format!("{WEIGHTS_FILE}: not a whole safetensors file ({e})"))
            .help("the file is cut short or damaged")
    })?;
    let tensor = |name: &str, shape: &[usize]| -> Result<Tensor> {
        let tensor = stored.get(name).ok_or_else(|| Error::input(format!("no tensor `{name}`")).at(WEIGHTS_FILE))?;
        if tensor.dims() != shape {
            let found = tensor.dims();
            return Err(Error::input(format!("tensor `{name}` has shape {found:?}, not {shape:?}")).at(WEIGHTS_FILE))
                .map_err(|e| e.help("the adapter was trained for another backbone"));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    };
    let adapter: Box<dyn Adapter> = match kind.peft_type.as_deref() {
        None => Box::new(Untrained),
        Some("LORA") => {
            let config: LoraConfig = parse(config)?;
            let odd = [
                ("use_rslora", config.use_rslora),
                ("use_dora", config.use_dora),
                ("rank_pattern", !config.rank_pattern.is_empty()),
                ("alpha_pattern", !config.alpha_pattern.is_empty()),
            ];
            if let Some((name, _)) = odd.iter().find(|(_, set)| *set) {
                return Err(Error::input(format!("`{name}` isn't supported")).at(CONFIG_FILE));
            }
            let spec = LoraSpec {
                rank: config.r,
                alpha: config.lora_alpha,
                dropout: config.lora_dropout,
                target_modules: config.target_modules,
            };
            let adapter = Lora::build(&spec, backbone, |path, inputs, outputs| {
                let a = tensor(&lora_name(path, 'A'), &[spec.rank, inputs])?;
                let b = tensor(&lora_name(path, 'B'), &[outputs, spec.rank])?;
                Ok((Var::from_tensor(&a)?, Var::from_tensor(&b)?))
            })
            .at(CONFIG_FILE)?;
            Box::new(adapter)
        }
        Some("PREFIX_TUNING") => {
            let config: PrefixConfig = parse(config)?;
            let dims = backbone.dims();
            let table = tensor(PREFIX_NAME, &[config.num_virtual_tokens, dims.layers * 2 * dims.kv_width()])?;
            Box::new(PrefixTuning::from_table(table, backbone)?)
        }
        Some(other) => {
            return Err(Error::input(format!("`peft_type` is `{other}`")).at(CONFIG_FILE))
                .map_err(|e| e.help("adapters of type LORA and PREFIX_TUNING can be read"));
        }
    };
    let head_name = backbone.head_name();
    let weight = HEAD_PLACES.iter().find_map(|place| {
        let name = format!("{place}{head_name}.weight");
        stored.get(&name).map(|tensor| (place, name, tensor.dims().first().copied().unwrap_or(0)))
    });
    match weight {
        Some((place, name, labels)) => {
            let weight = tensor(&name, &[labels, backbone.dims().hidden])?;
            let bias = tensor(&format!("{place}{head_name}.bias"), &[labels])?;
            Ok(Box::new(WithHead { adapter, head: Head::from_tensors(head_name, &weight, &bias)? }))
        }
        None if kind.peft_type.is_none() => Err(Error::input("`peft_type` is missing").at(CONFIG_FILE)),
        None => Ok(adapter),
    }
}
