//! LoRA (Hu et al. 2021): `W x + alpha / rank * B A dropout(x)`.

use std::collections::BTreeMap;

use candle_core::Var;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adapter, LowRank, SavedAdapter, matches_target, peft, unknown_target};
use crate::{
    error::{Error, Result},
    models::{Backbone, random},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct LoraSpec {
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The change is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Probability that an input of the change is dropped in training.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Names of linear layers, or ends of their paths: `q_proj`, `self_attn.v_proj`.
    #[schemars(length(min = 1))]
    pub target_modules: Vec<String>,
}

/// The two matrices of one layer: `A` `[rank, inputs]`, `B` `[outputs, rank]`.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) path: String,
    pub(super) a: Var,
    pub(super) b: Var,
}

/// Low-rank changes to some linear layers.
#[derive(Debug, Clone)]
pub struct Lora {
    spec: LoraSpec,
    /// In the backbone's order.
    pairs: Vec<Pair>,
    places: BTreeMap<String, usize>,
}

impl Lora {
    /// `A` uniform in `±1/sqrt(inputs)` (Kaiming's with a = sqrt 5, as PEFT), `B` zero: it changes nothing yet.
    pub fn new(spec: &LoraSpec, backbone: &dyn Backbone, seed: u64) -> Result<Self> {
        Self::build(spec, backbone, |path, inputs, outputs| {
            let bound = 1.0 / (inputs as f32).sqrt();
            let a = random::uniform(seed, &format!("lora_A.{path}"), spec.rank * inputs, bound);
            Ok((
                Var::from_vec(a, (spec.rank, inputs), backbone.device())?,
                Var::from_vec(vec![0f32; outputs * spec.rank], (outputs, spec.rank), backbone.device())?,
            ))
        })
    }

    /// With the matrices that `matrices(path, inputs, outputs)` gives.
    pub(super) fn build(
        spec: &LoraSpec,
        backbone: &dyn Backbone,
        mut matrices: impl FnMut(&str, usize, usize) -> Result<(Var, Var)>,
    ) -> Result<Self> {
        if spec.rank == 0 || !(0.0..1.0).contains(&spec.dropout) || spec.target_modules.is_empty() {
            return Err(Error::input(format!(
                "LoRA with rank {}, dropout {} and {} target modules",
                spec.rank,
                spec.dropout,
                spec.target_modules.len()
            ))
            .help("`rank` is at least 1, `dropout` at least 0 and below 1, `target_modules` not empty"));
        }
        let modules = backbone.modules();
        if let Some(lost) = spec.target_modules.iter().find(|t| !modules.iter().any(|m| matches_target(&m.path, t))) {
            return Err(unknown_target(lost, backbone));
        }
        let mut pairs = Vec::new();
        for module in modules {
            if spec.target_modules.iter().any(|t| matches_target(&module.path, t)) {
                let (a, b) = matrices(&module.path, module.inputs, module.outputs)?;
                pairs.push(Pair { path: module.path, a, b });
            }
        }
        let places = pairs.iter().enumerate().map(|(i, p)| (p.path.clone(), i)).collect();
        Ok(Self { spec: spec.clone(), pairs, places })
    }

    pub fn spec(&self) -> &LoraSpec {
        &self.spec
    }
}

impl Adapter for Lora {
    fn parameters(&self) -> Vec<(String, Var)> {
        self.pairs
            .iter()
            .flat_map(|p| [(peft::lora_name(&p.path, 'A'), p.a.clone()), (peft::lora_name(&p.path, 'B'), p.b.clone())])
            .collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        let pair = &self.pairs[*self.places.get(path)?];
        Some(LowRank {
            a: pair.a.as_tensor().clone(),
            b: pair.b.as_tensor().clone(),
            scale: self.spec.alpha / self.spec.rank as f64,
            dropout: self.spec.dropout,
        })
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let tensors = self.parameters().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
        Ok(SavedAdapter { config: peft::lora_config(&self.spec, base_model)?, weights: peft::weights(&tensors)? })
    }
}
