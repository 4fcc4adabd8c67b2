//! LoRA (Hu et al. 2021): `W x + alpha / rank * B A dropout(x)`.

use std::collections::BTreeMap;

use candle_core::Var;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    adapter::{Adapter, LowRank, SavedAdapter},
    adapter_method::{AdapterMethod, Wrong},
    layer_names::{layer_names, matches_target, unknown_target},
    peft::{self, CONFIG_FILE, Keys, PerLayer, Targets, Tensors},
};
use crate::{
    base::error::{At, Error, Result},
    models::{Backbone, BackboneShape, Module, seeded},
};

/// Low-rank updates of linear layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Width of the low-rank update (default 8).
    pub rank: usize,
    /// The update is scaled by `alpha / rank` (default 32).
    pub alpha: f64,
    /// Probability that an input of the update is dropped in training (default 0.1).
    pub dropout: f64,
    /// Names of the linear layers that are updated, or ends of their paths: `q_proj`, `self_attn.v_proj` (default: queries
    /// and values, as the model's family calls them).
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "not_empty")]
    pub target_modules: Vec<String>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 32.0, dropout: 0.1, target_modules: Vec::new() }
    }
}

/// A list that is there has names: an empty one would mean the usual layers.
fn not_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::deserialize(deserializer)?;
    if names.is_empty() {
        return Err(serde::de::Error::custom("names no layer; leave it out for the usual ones"));
    }
    Ok(names)
}

impl AdapterMethod for LoraOptions {
    const KIND: &'static str = "lora";
    const TITLE: &'static str = "LoRA";
    const PEFT_TYPE: Option<&'static str> = Some("LORA");
    const FACTS: &'static [&'static str] = &["rank", "alpha"];

    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless_positive("rank", self.rank)?;
        if !self.alpha.is_finite() {
            return Err(Wrong::new("alpha", "`alpha` must be a finite number"));
        }
        if !(0.0..=0.99).contains(&self.dropout) {
            return Err(Wrong::new("dropout", "`dropout` must lie between 0 and 0.99"));
        }
        Ok(())
    }

    fn complete(&mut self, usual_targets: &[&str]) {
        if self.target_modules.is_empty() {
            self.target_modules.extend(usual_targets.iter().map(|target| (*target).to_owned()));
        }
    }

    fn create(&self, backbone: &dyn Backbone, seed: u64, _: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(Lora::new(self, backbone, seed)?))
    }

    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(Lora::read(keys, tensors, backbone)?))
    }

    fn trainable(&self, backbone: BackboneShape) -> u64 {
        let changed = backbone.modules.iter().filter(|module| self.chooses(&module.path));
        changed.map(|module| (self.rank * (module.inputs + module.outputs)) as u64).sum()
    }

    fn changes(&self, path: &str) -> bool {
        self.chooses(path)
    }

    fn size(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("rank", &mut self.rank))
    }
}

/// The two matrices of one layer: `A` `[rank, inputs]`, `B` `[outputs, rank]`.
#[derive(Debug, Clone)]
struct Pair {
    path: String,
    a: Var,
    b: Var,
    /// What the change is multiplied by.
    scale: f64,
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
    fn new(options: &LoraOptions, backbone: &dyn Backbone, seed: u64) -> Result<Self> {
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
                pairs.push(Pair {
                    path,
                    a: Var::from_vec(a, (options.rank, inputs), backbone.device())?,
                    b: Var::from_vec(vec![0f32; outputs * options.rank], (outputs, options.rank), backbone.device())?,
                    scale: options.alpha / options.rank as f64,
                });
            }
        }
        Ok(Self::of(options.clone(), pairs))
    }

    /// From PEFT's files.
    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Self> {
        keys.unused(&UNSUPPORTED)?;
        keys.skip(&WITHOUT_EFFECT);
        check_start(keys)?;
        check_biases(keys, tensors)?;
        let mut options = LoraOptions {
            rank: keys.take("r", "a whole number")?.unwrap_or(PEFT_DEFAULT),
            alpha: keys.take("lora_alpha", "a number")?.unwrap_or(PEFT_DEFAULT as f64),
            dropout: keys.take("lora_dropout", "a number")?.unwrap_or(0.0),
            target_modules: Vec::new(),
        };
        let by_root = keys.take("use_rslora", "true or false")?.unwrap_or(false);
        let (ranks, alphas) = (PerLayer::take(keys, "rank_pattern")?, PerLayer::take(keys, "alpha_pattern")?);
        let targets = Targets::take(keys)?;
        let mut pairs = Vec::new();
        for Module { path, inputs, outputs } in backbone.modules() {
            if !targets.include(&path)? {
                continue;
            }
            let rank = ranks.find(&path)?.map_or(Ok(options.rank), |rank| whole("rank_pattern", rank))?;
            let alpha = alphas.find(&path)?.unwrap_or(options.alpha);
            let a = tensors.take(&name(&path, 'A'), &[rank, inputs])?;
            let b = tensors.take(&name(&path, 'B'), &[outputs, rank])?;
            let scale = alpha / if by_root { (rank as f64).sqrt() } else { rank as f64 };
            if !(scale as f32).is_finite() {
                return Err(Error::input(format!("`lora_alpha` or `alpha_pattern` gives {alpha}, which is too much")))
                    .at(CONFIG_FILE);
            }
            pairs.push(Pair { path, a: Var::from_tensor(&a)?, b: Var::from_tensor(&b)?, scale });
        }
        if pairs.is_empty() {
            return Err(Error::input("`target_modules` chooses no linear layer of the backbone")
                .help(format!("the layers are named: {}", layer_names(backbone).join(", "))))
            .at(CONFIG_FILE);
        }
        options.target_modules = match targets.plain() {
            Some(names) => names.to_vec(),
            None => pairs.iter().map(|p| p.path.clone()).collect(),
        };
        if !options.alpha.is_finite() || !(0.0..1.0).contains(&options.dropout) {
            let (alpha, dropout) = (options.alpha, options.dropout);
            return Err(Error::input(format!("`lora_alpha` {alpha} and `lora_dropout` {dropout}"))
                .help("alpha is a finite number, dropout at least 0 and below 1"))
            .at(CONFIG_FILE);
        }
        Ok(Self::of(options, pairs))
    }

    fn of(options: LoraOptions, pairs: Vec<Pair>) -> Self {
        let places = pairs.iter().enumerate().map(|(i, p)| (p.path.clone(), i)).collect();
        Self { options, pairs, places }
    }
}

impl LoraOptions {
    fn chooses(&self, path: &str) -> bool {
        self.target_modules.iter().any(|t| matches_target(path, t))
    }
}

/// PEFT's rank and alpha where a file states none.
const PEFT_DEFAULT: usize = 8;

/// Keys of what would compute something else.
const UNSUPPORTED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "enable_lora",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Keys that say how an adapter was trained, or that mean nothing without one of the others.
const WITHOUT_EFFECT: [&str; 9] = [
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    // PEFT doesn't go by it where a layer is a linear one, as all are here.
    "fan_in_fan_out",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "merge_weights",
    "qalora_group_size",
];

/// Starts of training that leave the backbone as it is, beside true, false and null.
const STARTS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// An adapter that was trained beside a changed backbone means nothing beside the published one.
fn check_start(keys: &mut Keys) -> Result<()> {
    match keys.take::<Value>("init_lora_weights", "a way to start")? {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(start)) if STARTS.contains(&start.to_lowercase().as_str()) => Ok(()),
        Some(start) => {
            Err(Error::input(format!("`init_lora_weights` is {start}: training began by changing the backbone")).help(
                "PEFT can turn such an adapter into a plain one when it saves it: \
             `save_pretrained(..., path_initial_model_for_weight_conversion = ...)`",
            ))
            .at(CONFIG_FILE)
        }
    }
}

/// Biases of the backbone that were trained would replace its own.
fn check_biases(keys: &mut Keys, tensors: &Tensors) -> Result<()> {
    let bias: Option<String> = keys.take("bias", "`none`, `all` or `lora_only`")?;
    match bias.as_deref() {
        None | Some("none") => Ok(()),
        Some(bias @ ("all" | "lora_only")) => match tensors.find(|name| name.ends_with(".bias")) {
            // A backbone without biases: there was none to train.
            None => Ok(()),
            Some(name) => Err(Error::input(format!(
                "`bias` is `{bias}`, and the adapter has a bias of the backbone, `{name}`, which isn't supported"
            ))
            .help("without it the adapter would compute something else: take one that was trained with `bias` none")),
        },
        Some(other) => Err(Error::input(format!("`bias` is `{other}`, not `none`, `all` or `lora_only`"))),
    }
    .at(CONFIG_FILE)
}

fn whole(key: &str, number: f64) -> Result<usize> {
    if number.fract() == 0.0 && (1.0..1e9).contains(&number) {
        return Ok(number as usize);
    }
    Err(Error::input(format!("`{key}` says {number}, not a whole number above 0"))).at(CONFIG_FILE)
}

/// Where PEFT keeps a matrix of the layer at `path`.
fn name(path: &str, matrix: char) -> String {
    format!("base_model.model.{path}.lora_{matrix}.weight")
}

/// PEFT's own type of alpha is an integer.
fn shortest(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

impl Adapter for Lora {
    fn parameters(&self) -> Vec<(String, Var)> {
        self.pairs.iter().flat_map(|p| [(name(&p.path, 'A'), p.a.clone()), (name(&p.path, 'B'), p.b.clone())]).collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        let pair = &self.pairs[*self.places.get(path)?];
        Some(LowRank {
            a: pair.a.as_tensor().clone(),
            b: pair.b.as_tensor().clone(),
            scale: pair.scale,
            dropout: self.options.dropout,
        })
    }

    fn method(&self) -> &'static str {
        LoraOptions::KIND
    }

    fn peft_type(&self) -> Option<&'static str> {
        LoraOptions::PEFT_TYPE
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        vec![("rank", json!(self.options.rank)), ("alpha", json!(self.options.alpha))]
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let LoraOptions { rank, alpha, dropout, target_modules } = &self.options;
        let (mut ranks, mut alphas) = (Map::new(), Map::new());
        for Pair { path, a, scale, .. } in &self.pairs {
            let own = a.dims()[0];
            if own != *rank {
                ranks.insert(path.clone(), json!(own));
            }
            if *scale != alpha / own as f64 {
                alphas.insert(path.clone(), shortest(scale * own as f64));
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
            "use_rslora": false,
            "use_dora": false,
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
