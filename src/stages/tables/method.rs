//! The `[method.NAME]` table of a pipeline file: what is trained on top of the backbone, and how.

use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    config::{self, Diagnostic, Node, Span, to_json},
    engine::ResolveContext,
    models::adapters::{self, AdapterSpec, Stated, Wrong, read_adapter},
    train::{RuntimeOptions, Schedule, TrainingLength, TrainingSpec},
};

/// A `[method.NAME]` table, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// The name in tables.
    pub title: String,
    /// What is trained, without what follows from the model's family ([`AdapterSpec::completed`]).
    pub adapter: AdapterSpec,
    /// What the table itself says of the adapter.
    pub stated: Stated,
    /// A classification head is trained with the adapter and answers in place of the model's words.
    pub head: bool,
    pub training: TrainingSpec,
    pub runtime: RuntimeOptions,
}

impl Method {
    /// The definition `[method.name]`, which is named at `span`.
    ///
    /// # Errors
    /// If there is none, or all that is wrong with it.
    pub fn find(cx: &ResolveContext, name: &str, span: Option<Span>) -> Result<Self, Vec<Diagnostic>> {
        Self::read(cx.spec.definition("method", name, span).map_err(|diagnostic| vec![diagnostic])?)
    }

    /// # Errors
    /// Everything that is wrong with the table.
    pub fn read(node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let node = &with_table(node);
        let mut diagnostics = Vec::new();
        let mut keep = |more: Vec<Diagnostic>| diagnostics.extend(more);
        let table = config::from_node::<MethodTable>(&without_strays(node, &mut keep)).map_err(&mut keep);
        let adapter = node.get("adapter").map(|adapter| read_adapter(adapter).map_err(&mut keep));
        let at = |wrong: Wrong| vec![Diagnostic::new(wrong.message).at(node.get(wrong.key).unwrap_or(node).span)];
        let ways = table.map(|t| {
            let training = t.training().map_err(|wrong| keep(at(wrong)));
            let runtime = t.runtime().map_err(|wrong| keep(at(wrong)));
            (t.title, t.head, training, runtime)
        });
        match (adapter, ways) {
            (Some(Ok(adapter)), Ok((title, head, Ok(training), Ok(runtime)))) if diagnostics.is_empty() => {
                let stated = stated(node, &adapter, head);
                Ok(Self { title, adapter, stated, head, training, runtime })
            }
            _ => Err(diagnostics),
        }
    }

    /// Whether there is anything to train.
    pub fn is_trained(&self) -> bool {
        self.adapter.is_trained() || self.head
    }
}

/// `adapter = "lora"` with its options beside it, the way in which methods were written before, as the table that it means.
fn with_table(node: &Node) -> Node {
    let (Some(table), Some(kind)) = (node.as_table(), node.get("adapter").filter(|adapter| adapter.as_str().is_some()))
    else {
        return node.clone();
    };
    let (mut rest, mut options) = (table.clone(), config::Table::default());
    for (name, (key, value)) in table {
        if name == "adapter" {
            options.insert("kind".to_owned(), (*key, kind.clone()));
        } else if !adapters::owners(name).is_empty() {
            options.insert(name.clone(), (*key, value.clone()));
            rest.shift_remove(name);
        }
    }
    if let Some((_, adapter)) = rest.get_mut("adapter") {
        *adapter = Node::new(kind.span, config::Value::Table(options));
    }
    Node::new(node.span, config::Value::Table(rest))
}

/// The table without keys that belong into its table `adapter`.
fn without_strays(node: &Node, report: &mut impl FnMut(Vec<Diagnostic>)) -> Node {
    let Some(table) = node.as_table() else { return node.clone() };
    let mut rest = table.clone();
    for (name, (key, _)) in table {
        if let Some(owner) = adapters::owners(name).first() {
            report(vec![
                Diagnostic::new(format!("`{name}` is an option of the adapter"))
                    .at(key.span)
                    .help(format!("write it there: `adapter = {{ kind = \"{}\", {name} = ... }}`", owner.name)),
            ]);
            rest.shift_remove(name);
        }
    }
    Node::new(node.span, config::Value::Table(rest))
}

/// What the table says itself. Defaults aren't stated: an adapter from elsewhere needn't have them.
fn stated(node: &Node, adapter: &AdapterSpec, head: bool) -> Stated {
    let facts = adapters::kind(adapter.kind()).map_or(&[][..], |kind| kind.facts);
    let stated = facts.iter().filter_map(|fact| {
        let value: Value = to_json(node.get("adapter")?.get(fact)?);
        Some(((*fact).to_owned(), value))
    });
    Stated { adapter: adapter.kind().to_owned(), head, options: stated.collect() }
}

/// A way to adapt the backbone: an adapter with its sizes, and how it is trained.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Method")]
pub struct MethodTable {
    /// The name in tables, such as `LoRA`.
    title: String,
    /// What is trained, and its size.
    #[serde(rename = "adapter")]
    #[schemars(with = "AdapterSpec")]
    _adapter: IgnoredAny,
    /// Train a linear classifier over the labels with the adapter (or alone, with an adapter of the kind `none`), on the hidden state
    /// of the prompt's last token; it is evaluated with `answer = "head"` (default false).
    #[serde(default)]
    head: bool,

    /// Examples per optimiser step (default 16).
    batch_size: Option<usize>,
    /// Parts in which a batch is computed one after the other, to save memory (default 1). The gradient is the same.
    gradient_accumulation_steps: Option<usize>,
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
    /// Keep the input of each layer alone for backward and compute the rest again. Takes a third
    /// more time and much less memory (default false). Changes no result.
    gradient_checkpointing: Option<bool>,
}

impl MethodTable {
    fn training(&self) -> Result<TrainingSpec, Wrong> {
        let default = TrainingSpec::default();
        let length = match (self.steps, self.epochs) {
            (Some(_), Some(_)) => {
                return Err(Wrong::new("epochs", "`steps` and `epochs` both say how long to train: give one"));
            }
            (Some(0), None) => return Err(Wrong::new("steps", "`steps` must be at least 1")),
            (Some(steps), None) => TrainingLength::Steps(steps),
            (None, Some(epochs)) if epochs > 0.0 => TrainingLength::Epochs(epochs),
            (None, Some(_)) => return Err(Wrong::new("epochs", "`epochs` must be above 0")),
            (None, None) => default.length,
        };
        let spec = TrainingSpec {
            batch_size: self.batch_size.unwrap_or(default.batch_size),
            gradient_accumulation_steps: self
                .gradient_accumulation_steps
                .unwrap_or(default.gradient_accumulation_steps),
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
                let message = format!("`{key}` goes by measurements on the dev split: say `dev_every_steps`, too");
                return Err(Wrong::new(key, message));
            }
        }
        Wrong::unless_positive("patience", spec.patience.map_or(1, |n| n as usize))?;
        Wrong::unless_positive("batch_size", spec.batch_size)?;
        Wrong::unless_positive("gradient_accumulation_steps", spec.gradient_accumulation_steps)?;
        Wrong::unless_positive("dev_examples", spec.dev_examples)?;
        Wrong::unless_positive("dev_every_steps", spec.dev_every_steps.map_or(1, |n| n as usize))?;
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

    fn runtime(&self) -> Result<RuntimeOptions, Wrong> {
        let default = RuntimeOptions::default();
        let max_loss_rise = self.max_loss_rise.unwrap_or(default.max_loss_rise);
        above_zero("max_loss_rise", max_loss_rise)?;
        Ok(RuntimeOptions {
            checkpoint_every_steps: self.checkpoint_every_steps,
            checkpoint_every_seconds: self.checkpoint_every_seconds.unwrap_or(default.checkpoint_every_seconds),
            max_loss_rise,
            gradient_checkpointing: self.gradient_checkpointing.unwrap_or(default.gradient_checkpointing),
        })
    }
}

fn above_zero(key: &'static str, value: f64) -> Result<(), Wrong> {
    if value > 0.0 { Ok(()) } else { Err(Wrong::new(key, format!("`{key}` must be above 0"))) }
}

fn within(key: &'static str, value: f64, from: f64, to: f64) -> Result<(), Wrong> {
    if (from..=to).contains(&value) {
        Ok(())
    } else if to == f64::MAX {
        Err(Wrong::new(key, format!("`{key}` must be at least {from}")))
    } else {
        Err(Wrong::new(key, format!("`{key}` must lie between {from} and {to}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stages::tests::node;

    fn method(keys: Value) -> Result<Method, String> {
        let all =
            |found: Vec<Diagnostic>| found.iter().map(|d| format!("{} {:?}\n", d.message, d.help)).collect::<String>();
        Method::read(&node(&keys)).map_err(all)
    }

    #[test]
    fn everything_has_a_default_but_title_and_adapter() {
        let m = method(json!({ "title": "LoRA", "adapter": { "kind": "lora" } })).unwrap();
        assert_eq!((m.training, m.runtime), (TrainingSpec::default(), RuntimeOptions::default()));
        assert_eq!(m.adapter, adapters::LoraOptions::default().into());
        assert!(method(json!({ "adapter": { "kind": "lora" } })).unwrap_err().contains("title"));
        assert!(method(json!({ "title": "L" })).unwrap_err().contains("`adapter` is missing"));
        assert!(method(json!({ "title": "L", "adapter": { "rank": 3 } })).unwrap_err().contains("`kind` is missing"));
    }

    #[test]
    fn keys_reach_the_specification() {
        let m = method(json!({
            "title": "P", "adapter": { "kind": "ptuning2", "virtual_tokens": 4, "init": "text" }, "steps": 7,
            "betas": [0.8, 0.99], "schedule": "cosine", "checkpoint_every_steps": 2, "gradient_checkpointing": true,
            "gradient_accumulation_steps": 3,
        }))
        .unwrap();
        assert_eq!((m.training.length, m.training.gradient_accumulation_steps), (TrainingLength::Steps(7), 3));
        assert_eq!((m.training.betas, m.training.schedule), ([0.8, 0.99], Schedule::Cosine));
        assert_eq!((m.runtime.checkpoint_every_steps, m.runtime.gradient_checkpointing), (Some(2), true));
        assert_eq!((m.adapter.size(), m.adapter.init_text()), (Some(("virtual_tokens", 4)), Some("")));
        let stated = serde_json::to_value(&m.stated).unwrap();
        assert_eq!(stated, json!({ "adapter": "ptuning2", "head": false, "options": { "virtual_tokens": 4 } }));
    }

    #[test]
    fn a_head_makes_any_method_a_trained_one() {
        let parsed = |keys: Value| method(keys).unwrap();
        assert!(!parsed(json!({ "title": "Z", "adapter": { "kind": "none" } })).is_trained());
        let alone = parsed(json!({ "title": "H", "adapter": { "kind": "none" }, "head": true, "steps": 3 }));
        assert!(alone.is_trained() && alone.head);
        assert!(!parsed(json!({ "title": "L", "adapter": { "kind": "lora" } })).head);
    }

    #[test]
    fn the_earlier_way_to_write_a_method_means_the_table() {
        let flat = json!({ "title": "L", "adapter": "lora", "rank": 4, "steps": 3 });
        let table = json!({ "title": "L", "adapter": { "kind": "lora", "rank": 4 }, "steps": 3 });
        assert_eq!(method(flat).unwrap(), method(table).unwrap());
        let foreign = method(json!({ "title": "P", "adapter": "ptuning2", "rank": 4 })).unwrap_err();
        assert!(foreign.contains("`rank` belongs to `kind = \"lora\"`"), "{foreign}");
    }

    #[test]
    fn mistakes_are_named_and_all_at_once() {
        let error = |mut keys: Value| {
            keys["title"] = "x".into();
            method(keys).unwrap_err()
        };
        let with = |adapter: Value| error(json!({ "adapter": adapter }));
        let training = |key: &str, value: Value| error(json!({ "adapter": { "kind": "lora" }, key: value }));
        assert!(with(json!({ "kind": "ptuning2", "rank": 4 })).contains("`rank` belongs to `kind = \"lora\"`"));
        assert!(with(json!({ "kind": "lora", "dropout": 1.0 })).contains("`dropout` must lie between"));
        assert!(with(json!({ "kind": "lora", "target_modules": [] })).contains("leave it out for the usual ones"));
        assert!(with(json!({ "kind": "ptuning2", "init_text": "a" })).contains("init = \"text\""));
        assert!(with(json!(4)).contains("write `adapter = { kind = \\\"lora\\\" }`"), "{}", with(json!(4)));
        assert!(with(json!("lorra")).contains("did you mean `lora`?"), "{}", with(json!("lorra")));
        assert!(training("rank", json!(4)).contains("adapter = { kind = \\\"lora\\\", rank = ... }"));
        assert!(training("learning_rate", json!(-1.0)).contains("`learning_rate` must be above 0"));
        assert!(training("learing_rate", json!(1.0)).contains("learing_rate"));
        assert!(training("patience", json!(2)).contains("say `dev_every_steps`, too"));
        let length = error(json!({ "adapter": { "kind": "lora" }, "steps": 1, "epochs": 1.0 }));
        assert!(length.contains("give one"));
        let many = error(json!({ "adapter": { "kind": "lora", "rnak": 1, "projection": 2 }, "warmup": -1, "rank": 8 }));
        assert_eq!(many.lines().count(), 4, "{many}");
    }
}
