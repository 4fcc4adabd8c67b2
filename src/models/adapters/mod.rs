//! What is trained on top of a frozen backbone. One file a method, one line each in [`AdapterSpec`] and [`create`].

mod detached;
mod head;
mod lora;
mod none;
mod peft;
mod ptuning2;
mod stated;

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Backbone;
use crate::base::error::{Error, Result};

pub use detached::DetachedAdapter;
pub use head::{Head, WithHead};
pub use lora::{Lora, LoraSpec};
pub use none::{Untrained, UntrainedSpec};
pub use peft::{CONFIG_FILE, WEIGHTS_FILE, load};
pub use ptuning2::{PrefixInit, PrefixTuning, PrefixTuningSpec};
pub use stated::Stated;

/// An adapter's method and its hyper-parameters: the part of a pipeline's `method` table that decides what is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "adapter", rename_all = "kebab-case")]
pub enum AdapterSpec {
    /// The backbone as it is.
    None(UntrainedSpec),
    Lora(LoraSpec),
    Ptuning2(PrefixTuningSpec),
}

/// A trainable change to one linear layer: `y += scale * dropout(x) A^T B^T`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, inputs]`
    pub a: Tensor,
    /// `[outputs, rank]`
    pub b: Tensor,
    pub scale: f64,
    /// Probability that an input of the low-rank path is dropped in training.
    pub dropout: f64,
}

/// The files of a saved adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedAdapter {
    /// `adapter_config.json`
    pub config: Vec<u8>,
    /// `adapter_model.safetensors`
    pub weights: Vec<u8>,
}

/// Trainable parameters, and how they change the backbone.
pub trait Adapter: Send + Sync {
    /// Trainable parameters with their names, always in the same order. Empty: nothing to train.
    fn parameters(&self) -> Vec<(String, Var)>;

    /// The change to the linear layer at `path`.
    fn low_rank(&self, _path: &str) -> Option<LowRank> {
        None
    }

    /// What every token of a layer attends to, for each layer: keys, which live in the space of the cached ones, that is after
    /// rotation, and values, `[2, virtual_tokens, kv_heads * head_dim]`. Computed once per forward pass.
    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// The classifier that answers in place of the model's words.
    fn head(&self) -> Option<&Head> {
        None
    }

    /// The name of the adapter's method, as in [`AdapterSpec`].
    fn method(&self) -> &'static str;

    /// What PEFT calls the method, if it knows it.
    fn peft_type(&self) -> Option<&'static str> {
        None
    }

    /// Hyper-parameters of the method that the adapter itself shows, under their names in [`AdapterSpec`].
    fn facts(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// The adapter in PEFT's file format. `base_model` names the backbone for the reader.
    fn save(&self, base_model: &str) -> Result<SavedAdapter>;
}

/// A fresh adapter. `init_ids` are the tokens of the text that a prefix starts from, where the method asks for one
/// ([`AdapterSpec::init_text`]).
pub fn create(
    spec: &AdapterSpec,
    backbone: &dyn Backbone,
    seed: u64,
    init_ids: Option<&[u32]>,
) -> Result<Box<dyn Adapter>> {
    Ok(match spec {
        AdapterSpec::None(_) => Box::new(Untrained),
        AdapterSpec::Lora(spec) => Box::new(Lora::new(spec, backbone, seed)?),
        AdapterSpec::Ptuning2(spec) => Box::new(PrefixTuning::new(spec, backbone, seed, init_ids)?),
    })
}

impl AdapterSpec {
    /// The text whose tokens [`create`] needs.
    pub fn init_text(&self) -> Option<&str> {
        match self {
            Self::Ptuning2(PrefixTuningSpec { init: PrefixInit::Text { text }, .. }) => Some(text),
            _ => None,
        }
    }

    /// LoRA that names no layers changes these.
    pub fn with_usual_targets(mut self, usual: &[&str]) -> Self {
        if let Self::Lora(LoraSpec { target_modules, .. }) = &mut self
            && target_modules.is_empty()
        {
            target_modules.extend(usual.iter().map(|t| (*t).to_owned()));
        }
        self
    }

    /// Whether there is anything to train.
    pub fn is_trained(&self) -> bool {
        !matches!(self, Self::None(_))
    }
}

/// The modules whose path is `target` or ends in `.target`, as PEFT matches `target_modules`.
pub(crate) fn matches_target(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What the backbone's linear layers are called, each name once.
fn layer_names(backbone: &dyn Backbone) -> Vec<String> {
    let mut names: Vec<String> =
        backbone.modules().iter().filter_map(|m| m.path.rsplit('.').next().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    names
}

fn unknown_target(target: &str, backbone: &dyn Backbone) -> Error {
    let names = layer_names(backbone);
    let near = names.iter().max_by(|x, y| strsim::jaro(x, target).total_cmp(&strsim::jaro(y, target)));
    let hint = near.map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Error::input(format!("no linear layer of the backbone is named `{target}` (in `target_modules`)"))
        .help(format!("{hint}the layers are named: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn specs_are_strict_and_round_trip() {
        let parse = |v: serde_json::Value| serde_json::from_value::<AdapterSpec>(v);
        for spec in [
            json!({ "adapter": "none" }),
            json!({ "adapter": "lora", "rank": 8, "alpha": 16.0, "dropout": 0.1, "target_modules": ["q_proj"] }),
            json!({ "adapter": "ptuning2", "virtual_tokens": 4, "projection": null, "init": { "from": "text", "text": "x" } }),
        ] {
            assert_eq!(serde_json::to_value(parse(spec.clone()).unwrap()).unwrap(), spec);
            let mut typo = spec;
            typo["rnak"] = json!(1);
            assert!(parse(typo).unwrap_err().to_string().contains("rnak"));
        }
        let text =
            parse(json!({ "adapter": "ptuning2", "virtual_tokens": 4, "init": { "from": "text", "text": "x" } }))
                .unwrap();
        assert_eq!(text.init_text(), Some("x"));
    }

    #[test]
    fn targets_match_whole_names_at_the_end() {
        assert!(matches_target("model.layers.0.self_attn.q_proj", "q_proj"));
        assert!(matches_target("model.layers.0.self_attn.q_proj", "self_attn.q_proj"));
        assert!(matches_target("q_proj", "q_proj"));
        assert!(!matches_target("model.layers.0.self_attn.q_proj", "proj"));
    }
}
