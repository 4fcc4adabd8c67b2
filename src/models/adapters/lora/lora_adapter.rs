//! The trained matrices of LoRA, and the lengths of DoRA.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use serde_json::{Map, Value, json};

use super::lora_options::LoraOptions;
use crate::{
    base::error::Result,
    models::{
        Backbone, Module,
        adapters::{
            adapter::{Adapter, LowRank, RowLengths, SavedAdapter},
            adapter_method::AdapterMethod,
            layer_names::{matches_target, unknown_target},
            peft,
        },
        seeded,
    },
};

/// What changes one layer: `A` `[rank, inputs]`, `B` `[outputs, rank]`.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) path: String,
    pub(super) a: Var,
    pub(super) b: Var,
    /// What the change is multiplied by.
    pub(super) scale: f64,
    pub(super) lengths: Option<Lengths>,
}

/// DoRA's part of one layer.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    /// `[outputs]`: what is trained.
    trained: Var,
    /// `[outputs]`: squares of the frozen rows' lengths.
    squares: Tensor,
}

impl Lengths {
    /// Those of the frozen weights: nothing is changed yet.
    fn new(path: &str, backbone: &dyn Backbone) -> Result<Self> {
        let squares = backbone.row_squares(path)?;
        Ok(Self { trained: Var::from_tensor(&squares.sqrt()?)?, squares })
    }

    /// Those of the layer at `path` as they were saved, `[outputs]`.
    ///
    /// # Errors
    /// If the backbone has no layer at `path`, or the device fails.
    pub(super) fn saved(lengths: &Tensor, path: &str, backbone: &dyn Backbone) -> Result<Self> {
        Ok(Self { trained: Var::from_tensor(lengths)?, squares: backbone.row_squares(path)? })
    }
}

/// Low-rank changes to some linear layers.
#[derive(Debug, Clone)]
pub struct Lora {
    options: LoraOptions,
    /// In the backbone's order.
    pairs: Vec<Pair>,
    places: BTreeMap<String, usize>,
}

impl Lora {
    /// `A` uniform in `±1/sqrt(inputs)` (Kaiming's with a = sqrt 5, as PEFT), `B` zero: it changes nothing yet.
    ///
    /// # Errors
    /// If a target matches no layer of the backbone, or the device fails.
    pub(super) fn new(options: &LoraOptions, backbone: &dyn Backbone, seed: u64) -> Result<Self> {
        let modules = backbone.modules();
        if let Some(lost) = options.target_modules.iter().find(|t| !modules.iter().any(|m| matches_target(&m.path, t)))
        {
            return Err(unknown_target(lost, backbone));
        }
        let mut pairs = Vec::new();
        for Module { path, inputs, outputs } in modules {
            if options.chooses(&path) {
                let bound = 1.0 / (inputs as f32).sqrt();
                let a = seeded::uniform(seed, &format!("lora_A.{path}"), options.rank * inputs, bound);
                let lengths = options.use_dora.then(|| Lengths::new(&path, backbone)).transpose()?;
                pairs.push(Pair {
                    path,
                    a: Var::from_vec(a, (options.rank, inputs), backbone.device())?,
                    b: Var::from_vec(vec![0f32; outputs * options.rank], (outputs, options.rank), backbone.device())?,
                    scale: options.scale(options.alpha, options.rank),
                    lengths,
                });
            }
        }
        Ok(Self::of(options.clone(), pairs))
    }

    pub(super) fn of(options: LoraOptions, pairs: Vec<Pair>) -> Self {
        let places = pairs.iter().enumerate().map(|(i, p)| (p.path.clone(), i)).collect();
        Self { options, pairs, places }
    }
}

/// Where PEFT keeps a matrix of the layer at `path`.
pub(super) fn name(path: &str, matrix: char) -> String {
    format!("base_model.model.{path}.lora_{matrix}.weight")
}

/// Where PEFT keeps the lengths of the layer at `path`.
pub(super) fn name_of_lengths(path: &str) -> String {
    format!("base_model.model.{path}.lora_magnitude_vector")
}

/// PEFT's own type of alpha is an integer.
fn shortest(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

impl Adapter for Lora {
    fn parameters(&self) -> Vec<(String, Var)> {
        let of = |p: &Pair| {
            let lengths = p.lengths.iter().map(|lengths| (name_of_lengths(&p.path), lengths.trained.clone()));
            let matrices = [(name(&p.path, 'A'), p.a.clone()), (name(&p.path, 'B'), p.b.clone())];
            matrices.into_iter().chain(lengths).collect::<Vec<_>>()
        };
        self.pairs.iter().flat_map(of).collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        let pair = &self.pairs[*self.places.get(path)?];
        Some(LowRank {
            a: pair.a.as_tensor().clone(),
            b: pair.b.as_tensor().clone(),
            scale: pair.scale,
            dropout: self.options.dropout,
            lengths: pair.lengths.as_ref().map(|lengths| RowLengths {
                trained: lengths.trained.as_tensor().clone(),
                squares: lengths.squares.clone(),
            }),
        })
    }

    fn method(&self) -> &'static str {
        LoraOptions::KIND
    }

    fn peft_type(&self) -> Option<&'static str> {
        LoraOptions::PEFT_TYPE
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        let LoraOptions { rank, alpha, use_rslora, use_dora, .. } = &self.options;
        vec![
            ("rank", json!(rank)),
            ("alpha", json!(alpha)),
            ("use_rslora", json!(use_rslora)),
            ("use_dora", json!(use_dora)),
        ]
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let LoraOptions { rank, alpha, dropout, target_modules, use_rslora, use_dora } = &self.options;
        let (mut ranks, mut alphas) = (Map::new(), Map::new());
        for Pair { path, a, scale, .. } in &self.pairs {
            let own = a.dims()[0];
            if own != *rank {
                ranks.insert(path.clone(), json!(own));
            }
            if *scale != self.options.scale(*alpha, own) {
                alphas.insert(path.clone(), shortest(scale * self.options.divisor(own)));
            }
        }
        let mut config = json!({
            "peft_type": LoraOptions::PEFT_TYPE,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            "inference_mode": true,
            "r": rank,
            "lora_alpha": shortest(*alpha),
            "lora_dropout": dropout,
            "target_modules": target_modules,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "use_rslora": use_rslora,
            "use_dora": use_dora,
        });
        for (key, table) in [("rank_pattern", ranks), ("alpha_pattern", alphas)] {
            if !table.is_empty() {
                config[key] = Value::Object(table);
            }
        }
        let tensors = self.parameters().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
        Ok(SavedAdapter { config: peft::pretty(config)?, weights: peft::weights(&tensors)? })
    }
}
