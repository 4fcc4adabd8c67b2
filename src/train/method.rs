//! A method: what is trained on top of the backbone, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::learning_rate::Schedule;
use crate::models::adapters::{AdapterSpec, LoraSpec, PrefixInit, PrefixTuningSpec, Stated, UntrainedSpec};

/// A `[method.NAME]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "MethodTable")]
pub struct Method {
    /// The name in tables.
    pub title: String,
    /// LoRA that names no layers changes the usual ones of the model's family ([`AdapterSpec::with_usual_targets`]).
    pub adapter: AdapterSpec,
    /// What the table itself says of the adapter.
    pub stated: Stated,
    /// A classification head is trained with the adapter and answers in place of the model's words.
    pub head: bool,
    pub training: TrainingSpec,
    pub runtime: RuntimeOptions,
}

impl Method {
    /// Whether there is anything to train.
    pub fn is_trained(&self) -> bool {
        self.adapter.is_trained() || self.head
    }
}

/// The name in summaries of what is trained: `lora`, `lora+head`, `head`, ...
pub fn adapter_name(spec: &AdapterSpec, head: bool) -> String {
    let kind = match spec {
        AdapterSpec::None(_) => AdapterKind::None,
        AdapterSpec::Lora(_) => AdapterKind::Lora,
        AdapterSpec::Ptuning2(_) => AdapterKind::Ptuning2,
    };
    match (kind, head) {
        (kind, false) => kind.name().to_owned(),
        (AdapterKind::None, true) => "head".to_owned(),
        (kind, true) => format!("{}+head", kind.name()),
    }
}

/// How an adapter is trained: everything here can change its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Parts in which a batch is computed one after the other: less memory, the same gradient up to rounding. On CPUs a part
    /// may be several rows, which need less memory still.
    pub accumulation: usize,
    pub length: TrainingLength,
    /// At its peak.
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    /// The gradient's norm over all parameters is scaled down to this.
    pub max_grad_norm: f64,
    pub schedule: Schedule,
    /// Below 1 a share of all steps, from 1 on a number of steps.
    pub warmup: f64,
    /// Steps between measurements on the dev split; None: none.
    pub dev_every_steps: Option<u64>,
    /// Examples of the dev split that are measured: its first ones.
    pub dev_examples: usize,
    /// End with the parameters of the best measurement on the dev split (of equal ones the first), not with the last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_best: bool,
    /// Stop after so many measurements in a row that weren't better than the best before them; None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
}

/// How long a training goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingLength {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the training examples; need not be whole.
    Epochs(f64),
}

impl TrainingLength {
    /// Optimiser steps, at least one.
    pub fn steps(self, per_epoch: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => ((epochs * per_epoch as f64).ceil() as u64).max(1),
        }
    }
}

/// What protects a training and can't change the adapter's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeOptions {
    /// Optimiser steps between checkpoints; None: by time.
    pub checkpoint_every_steps: Option<u64>,
    /// Seconds between checkpoints.
    pub checkpoint_every_seconds: u64,
    /// Nats by which a batch's loss may exceed the median of the last 16 before the training stops.
    pub max_loss_rise: f64,
    /// Keep each layer's input alone for backward, and compute the rest again: less memory, more time.
    #[serde(default)]
    pub checkpointing: bool,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        Self {
            batch_size: 16,
            accumulation: 1,
            length: TrainingLength::Epochs(1.0),
            learning_rate: 1e-3,
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            max_grad_norm: 1.0,
            schedule: Schedule::Linear,
            warmup: 0.1,
            dev_every_steps: None,
            dev_examples: 100,
            keep_best: false,
            patience: None,
        }
    }
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { checkpoint_every_steps: None, checkpoint_every_seconds: 20, max_loss_rise: 10.0, checkpointing: false }
    }
}

/// A way to adapt the backbone: an adapter with its sizes, and how it is trained. Keys of another adapter than the
/// chosen one are errors.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Method")]
struct MethodTable {
    /// The name in tables, such as `LoRA`.
    title: String,
    /// What is trained: `none` (the backbone as it is), `lora`, or `ptuning2` (keys and values before every layer).
    adapter: AdapterKind,
    /// Train a linear classifier over the labels with the adapter (or alone, with `adapter = "none"`), on the hidden state
    /// of the prompt's last token; it is evaluated with `answer = "head"` (default false).
    #[serde(default)]
    head: bool,

    /// LoRA: width of the low-rank update (default 8).
    rank: Option<usize>,
    /// LoRA: the update is scaled by `alpha / rank` (default 32).
    alpha: Option<f64>,
    /// LoRA: probability that an input of the update is dropped in training (default 0.1).
    dropout: Option<f64>,
    /// LoRA: names of the linear layers that are updated, such as `q_proj` (default: queries and values, as
    /// the model's family calls them).
    target_modules: Option<Vec<String>>,

    /// P-Tuning v2: keys and values before every layer's own (default 32).
    virtual_tokens: Option<usize>,
    /// P-Tuning v2: width of a hidden layer through which the keys and values are computed; left out, they are trained
    /// themselves.
    projection: Option<usize>,
    /// P-Tuning v2: where keys and values start (default `normal`).
    init: Option<InitKind>,
    /// P-Tuning v2 with `init = "normal"`: standard deviation (default 1).
    init_std: Option<f64>,
    /// P-Tuning v2 with `init = "text"`: the text whose keys and values are the start, repeated or cut to `virtual_tokens`;
    /// left out, it is what the training prompts have in common (chat template and instruction).
    init_text: Option<String>,

    /// Examples per optimiser step (default 16).
    batch_size: Option<usize>,
    /// Parts in which a batch is computed one after the other, to save memory (default 1). The gradient is the same.
    accumulation: Option<usize>,
    /// Passes over the training examples; need not be whole (default 1). Give this or `steps`.
    epochs: Option<f64>,
    /// Optimiser steps. Give this or `epochs`.
    steps: Option<u64>,
    /// Peak learning rate of AdamW (default 0.001).
    learning_rate: Option<f64>,
    /// AdamW's decoupled weight decay (default 0).
    weight_decay: Option<f64>,
    /// AdamW's decay rates of the two moments (default `[0.9, 0.999]`).
    betas: Option<[f64; 2]>,
    /// AdamW's term in the denominator (default 1e-8).
    eps: Option<f64>,
    /// Norm to which a larger gradient is scaled down (default 1).
    max_grad_norm: Option<f64>,
    /// How the learning rate falls after warm-up (default `linear`).
    schedule: Option<Schedule>,
    /// Steps in which the learning rate rises: below 1 a share of all steps, from 1 on a number of steps (default 0.1).
    warmup: Option<f64>,
    /// Measure accuracy on the dev split every so many steps (default: never).
    dev_every_steps: Option<u64>,
    /// Examples of the dev split that are measured (default 100).
    dev_examples: Option<usize>,
    /// End with the adapter that was best on the dev split, not with the last one (default false).
    keep_best: Option<bool>,
    /// Stop after so many measurements in a row that bring nothing better (default: train to the end).
    patience: Option<u64>,

    /// Steps between checkpoints. Left out, checkpoints go by time. Changes no result.
    checkpoint_every_steps: Option<u64>,
    /// Seconds between checkpoints (default 20). Changes no result.
    checkpoint_every_seconds: Option<u64>,
    /// Stop when a batch's loss exceeds the usual one by more than so many nats (default 10). Changes no result.
    max_loss_rise: Option<f64>,
    /// Activation checkpointing: keep the input of each layer alone for backward and compute the rest again. Takes a third
    /// more time and much less memory (default false). Changes no result.
    checkpointing: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AdapterKind {
    None,
    Lora,
    Ptuning2,
}

impl AdapterKind {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lora => "lora",
            Self::Ptuning2 => "ptuning2",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum InitKind {
    /// Small random numbers.
    Normal,
    /// The keys and values that the backbone computes for a text.
    Text,
}

impl JsonSchema for Method {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        MethodTable::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        MethodTable::json_schema(generator)
    }
}

impl TryFrom<MethodTable> for Method {
    type Error = String;

    fn try_from(t: MethodTable) -> Result<Self, String> {
        t.refuse_foreign_keys()?;
        let (training, runtime) = (t.training()?, t.runtime()?);
        let (title, head, stated) = (t.title.clone(), t.head, t.stated());
        Ok(Self { title, adapter: t.adapter_spec()?, stated, head, training, runtime })
    }
}

impl MethodTable {
    /// Keys that say nothing for the chosen adapter are mistakes.
    fn refuse_foreign_keys(&self) -> Result<(), String> {
        let lora = [
            ("rank", self.rank.is_some()),
            ("alpha", self.alpha.is_some()),
            ("dropout", self.dropout.is_some()),
            ("target_modules", self.target_modules.is_some()),
        ];
        let ptuning = [
            ("virtual_tokens", self.virtual_tokens.is_some()),
            ("projection", self.projection.is_some()),
            ("init", self.init.is_some()),
            ("init_std", self.init_std.is_some()),
            ("init_text", self.init_text.is_some()),
        ];
        let foreign = [(AdapterKind::Lora, &lora[..]), (AdapterKind::Ptuning2, &ptuning[..])];
        for (owner, keys) in foreign.iter().filter(|(owner, _)| *owner != self.adapter) {
            if let Some((key, _)) = keys.iter().find(|(_, present)| *present) {
                let (owner, chosen) = (owner.name(), self.adapter.name());
                return Err(format!(
                    "`{key}` belongs to `adapter = \"{owner}\"`, but this method has `adapter = \"{chosen}\"`"
                ));
            }
        }
        Ok(())
    }

    /// Defaults aren't stated: an adapter from elsewhere needn't have them.
    fn stated(&self) -> Stated {
        let numbers = [
            ("rank", self.rank.map(|n| n as f64)),
            ("alpha", self.alpha),
            ("virtual_tokens", self.virtual_tokens.map(|n| n as f64)),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?)));
        Stated { adapter: self.adapter.name().to_owned(), head: self.head, numbers: BTreeMap::from_iter(numbers) }
    }

    fn adapter_spec(self) -> Result<AdapterSpec, String> {
        match self.adapter {
            AdapterKind::None => Ok(AdapterSpec::None(UntrainedSpec {})),
            AdapterKind::Lora => {
                if self.target_modules.as_ref().is_some_and(Vec::is_empty) {
                    return Err("`target_modules` names no layer; leave it out for the usual ones".to_owned());
                }
                let spec = LoraSpec {
                    rank: self.rank.unwrap_or(8),
                    alpha: self.alpha.unwrap_or(32.0),
                    dropout: self.dropout.unwrap_or(0.1),
                    // Left out: the usual ones of the model's family, which isn't known here.
                    target_modules: self.target_modules.unwrap_or_default(),
                };
                positive("rank", spec.rank)?;
                within("dropout", spec.dropout, 0.0, 0.99)?;
                Ok(AdapterSpec::Lora(spec))
            }
            AdapterKind::Ptuning2 => {
                let init = match self.init.unwrap_or(InitKind::Normal) {
                    InitKind::Normal if self.init_text.is_some() => {
                        return Err("`init_text` says something only with `init = \"text\"`".to_owned());
                    }
                    InitKind::Normal => PrefixInit::Normal { std: self.init_std.unwrap_or(1.0) },
                    InitKind::Text if self.init_std.is_some() => {
                        return Err("`init_std` says something only with `init = \"normal\"`".to_owned());
                    }
                    InitKind::Text if self.projection.is_some() => {
                        return Err(
                            "a prefix with `projection` can't start from a text: leave one of the two out".to_owned()
                        );
                    }
                    InitKind::Text => PrefixInit::Text { text: self.init_text.unwrap_or_default() },
                };
                let spec = PrefixTuningSpec {
                    virtual_tokens: self.virtual_tokens.unwrap_or(32),
                    projection: self.projection,
                    init,
                };
                positive("virtual_tokens", spec.virtual_tokens)?;
                Ok(AdapterSpec::Ptuning2(spec))
            }
        }
    }

    fn training(&self) -> Result<TrainingSpec, String> {
        let default = TrainingSpec::default();
        let length = match (self.steps, self.epochs) {
            (Some(_), Some(_)) => return Err("`steps` and `epochs` both say how long to train: give one".to_owned()),
            (Some(0), None) => return Err("`steps` must be at least 1".to_owned()),
            (Some(steps), None) => TrainingLength::Steps(steps),
            (None, Some(epochs)) if epochs > 0.0 => TrainingLength::Epochs(epochs),
            (None, Some(_)) => return Err("`epochs` must be above 0".to_owned()),
            (None, None) => default.length,
        };
        let spec = TrainingSpec {
            batch_size: self.batch_size.unwrap_or(default.batch_size),
            accumulation: self.accumulation.unwrap_or(default.accumulation),
            length,
            learning_rate: self.learning_rate.unwrap_or(default.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
            betas: self.betas.unwrap_or(default.betas),
            eps: self.eps.unwrap_or(default.eps),
            max_grad_norm: self.max_grad_norm.unwrap_or(default.max_grad_norm),
            schedule: self.schedule.unwrap_or(default.schedule),
            warmup: self.warmup.unwrap_or(default.warmup),
            dev_every_steps: self.dev_every_steps,
            dev_examples: self.dev_examples.unwrap_or(default.dev_examples),
            keep_best: self.keep_best.unwrap_or(default.keep_best),
            patience: self.patience,
        };
        for (key, asked) in [("keep_best", spec.keep_best), ("patience", spec.patience.is_some())] {
            if asked && spec.dev_every_steps.is_none() {
                return Err(format!("`{key}` goes by measurements on the dev split: say `dev_every_steps`, too"));
            }
        }
        positive("patience", spec.patience.map_or(1, |n| n as usize))?;
        positive("batch_size", spec.batch_size)?;
        positive("accumulation", spec.accumulation)?;
        positive("dev_examples", spec.dev_examples)?;
        positive("dev_every_steps", spec.dev_every_steps.map_or(1, |n| n as usize))?;
        above_zero("learning_rate", spec.learning_rate)?;
        above_zero("eps", spec.eps)?;
        above_zero("max_grad_norm", spec.max_grad_norm)?;
        within("weight_decay", spec.weight_decay, 0.0, f64::MAX)?;
        within("warmup", spec.warmup, 0.0, f64::MAX)?;
        for beta in spec.betas {
            within("betas", beta, 0.0, 0.999_999)?;
        }
        Ok(spec)
    }

    fn runtime(&self) -> Result<RuntimeOptions, String> {
        let default = RuntimeOptions::default();
        let max_loss_rise = self.max_loss_rise.unwrap_or(default.max_loss_rise);
        above_zero("max_loss_rise", max_loss_rise)?;
        Ok(RuntimeOptions {
            checkpoint_every_steps: self.checkpoint_every_steps,
            checkpoint_every_seconds: self.checkpoint_every_seconds.unwrap_or(default.checkpoint_every_seconds),
            max_loss_rise,
            checkpointing: self.checkpointing.unwrap_or(default.checkpointing),
        })
    }
}

fn positive(key: &str, value: usize) -> Result<(), String> {
    if value > 0 { Ok(()) } else { Err(format!("`{key}` must be at least 1")) }
}

fn above_zero(key: &str, value: f64) -> Result<(), String> {
    if value > 0.0 { Ok(()) } else { Err(format!("`{key}` must be above 0")) }
}

fn within(key: &str, value: f64, from: f64, to: f64) -> Result<(), String> {
    if (from..=to).contains(&value) {
        Ok(())
    } else if to == f64::MAX {
        Err(format!("`{key}` must be at least {from}"))
    } else {
        Err(format!("`{key}` must lie between {from} and {to}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn method(keys: Value) -> Result<Method, String> {
        serde_json::from_value(keys).map_err(|e| e.to_string())
    }

    #[test]
    fn everything_has_a_default_but_title_and_adapter() {
        let m = method(json!({ "title": "LoRA", "adapter": "lora" })).unwrap();
        assert_eq!((m.training, m.runtime), (TrainingSpec::default(), RuntimeOptions::default()));
        let AdapterSpec::Lora(lora) = m.adapter else { panic!() };
        assert_eq!((lora.rank, lora.target_modules.len()), (8, 0));
        assert!(method(json!({ "adapter": "lora" })).unwrap_err().contains("title"));
    }

    #[test]
    fn keys_reach_the_specification() {
        let m = method(json!({
            "title": "P", "adapter": "ptuning2", "virtual_tokens": 4, "init": "text", "steps": 7, "betas": [0.8, 0.99],
            "schedule": "cosine", "checkpoint_every_steps": 2,
        }))
        .unwrap();
        assert_eq!(m.training.length, TrainingLength::Steps(7));
        assert_eq!((m.training.betas, m.training.schedule), ([0.8, 0.99], Schedule::Cosine));
        assert_eq!(m.runtime.checkpoint_every_steps, Some(2));
        let AdapterSpec::Ptuning2(p) = m.adapter else { panic!() };
        assert_eq!((p.virtual_tokens, p.init), (4, PrefixInit::Text { text: String::new() }));
    }

    #[test]
    fn a_head_makes_any_method_a_trained_one() {
        let parsed = |keys: Value| method(keys).unwrap();
        assert!(!parsed(json!({ "title": "Z", "adapter": "none" })).is_trained());
        let alone = parsed(json!({ "title": "H", "adapter": "none", "head": true, "steps": 3 }));
        assert!(alone.is_trained() && alone.head);
        assert_eq!(adapter_name(&alone.adapter, true), "head");
        let lora = parsed(json!({ "title": "L", "adapter": "lora" }));
        assert!(!lora.head);
        assert_eq!(adapter_name(&lora.adapter, false), "lora");
        assert_eq!(adapter_name(&lora.adapter, true), "lora+head");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |mut keys: Value| {
            keys["title"] = "x".into();
            method(keys).unwrap_err()
        };
        assert!(error(json!({ "adapter": "ptuning2", "rank": 4 })).contains("`rank` belongs to `adapter = \"lora\"`"));
        assert!(error(json!({ "adapter": "lora", "steps": 1, "epochs": 1.0 })).contains("give one"));
        assert!(error(json!({ "adapter": "lora", "learning_rate": -1.0 })).contains("`learning_rate` must be above 0"));
        assert!(error(json!({ "adapter": "lora", "dropout": 1.0 })).contains("`dropout` must lie between"));
        assert!(error(json!({ "adapter": "lora", "learing_rate": 1.0 })).contains("learing_rate"));
        assert!(error(json!({ "adapter": "ptuning2", "init_text": "a" })).contains("init = \"text\""));
        assert!(error(json!({ "adapter": "lora", "patience": 2 })).contains("say `dev_every_steps`, too"));
    }

    #[test]
    fn length_in_steps() {
        assert_eq!(TrainingLength::Epochs(1.5).steps(5), 8);
        assert_eq!(TrainingLength::Epochs(0.001).steps(5), 1);
        assert_eq!(TrainingLength::Steps(3).steps(5), 3);
    }
}
