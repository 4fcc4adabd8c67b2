//! `memory-plan`: what training and evaluating every method on every task will hold in memory, from the tokens alone.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tables::{Method, ModelTable};
use super::{
    lookup::{both, definition, definition_at, diagnostic_at, json, span},
    train::read_tokens,
};
use crate::estimate::footprint::{EvaluationMemory, Lengths, Prompts, TrainingMemory};
use crate::{
    base::{
        error::{Error, IoAt, Result},
        machine::Device,
    },
    config::{self, Diagnostic, Node, Size, Spanned},
    data::Task,
    engine::{Context, Isolation, ResolveContext, Resolved, Resources, StageKind, Usual},
    estimate::peak_memory::{Answering, ModelShape},
    models::{AdapterSpec, BackboneSpec, usual_targets},
    report::{MemoryLayout, MemoryRow, Named, memory_table},
};

/// Role of the inputs: artifacts of `tokenize`.
const TOKENS: &str = "tokens";

/// Writes what training and evaluation hold in memory, in Markdown and CSV, without weights. The model's table has to
/// state its `config`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MemoryPlanStage")]
struct Options {
    /// Heading.
    title: String,
    /// Name of a `[model.NAME]` table.
    model: String,
    /// Names of `[method.NAME]` tables, in order.
    methods: Vec<Spanned<String>>,
    /// The device's memory, such as `"24 GiB"`: says which rows fit.
    budget: Size,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    device: Device,
}

/// What decides the plan, next to the tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Params {
    title: String,
    model: Named,
    backbone: BackboneSpec,
    methods: Vec<Planned>,
    /// From top to bottom.
    tasks: Vec<PlannedTask>,
    /// Bytes.
    budget: u64,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlannedTask {
    task: Named,
    /// Place of its tokens among the inputs.
    input: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Planned {
    method: Named,
    adapter: AdapterSpec,
    batch_size: usize,
    gradient_accumulation_steps: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gradient_checkpointing: bool,
}

/// The kind `memory-plan`. Its artifact holds `memory.md` and `memory.csv`.
pub struct MemoryPlan;

impl StageKind for MemoryPlan {
    fn name(&self) -> &'static str {
        "memory-plan"
    }

    fn version(&self) -> u32 {
        6
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Options>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Options>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let options: Options = config::from_node(&cx.action.params)?;
        let model = definition::<ModelTable>(cx, "model", &options.model);
        let (model, (methods, tasks)) = both(model, both(methods(cx, &options.methods), tasks(cx)))?;
        let targets = usual_targets(&model.family)
            .map_err(|e| vec![diagnostic_at(cx, ["model", &options.model, "family"], e)])?;
        let methods = methods.into_iter().map(|m| Planned { adapter: m.adapter.completed(targets), ..m });
        let mut missing = Vec::new();
        if model.config.is_empty() {
            missing.push(
                Diagnostic::new(format!("the sizes of model `{}` aren't known without its weights", options.model))
                    .at(span(cx, "model"))
                    .help(format!("state the keys of its config.json in `[model.{}.config]`", options.model)),
            );
        }
        let params = Params {
            title: options.title,
            backbone: model.backbone(),
            model: Named { title: model.title.unwrap_or_else(|| options.model.clone()), name: options.model },
            methods: methods.collect(),
            tasks,
            budget: options.budget.0,
            device: options.device,
        };
        Ok(Resolved {
            params: json(&params)?,
            resources: Resources { memory: 256 << 20, ..Resources::default() },
            missing,
            work: Some(Arc::new(Usual(0.5))),
            ..Resolved::default()
        })
    }

    fn isolation(&self) -> Isolation {
        Isolation::InProcess
    }

    fn outputs(&self, _: &serde_json::Value) -> Option<Vec<String>> {
        Some(vec!["memory.csv".to_owned(), "memory.md".to_owned()])
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let params: Params = cx.params()?;
        let shape = ModelShape::of(&params.backbone, params.device)?
            .ok_or_else(|| Error::internal("a memory plan without the model's sizes"))?;
        let tokens = cx.inputs(TOKENS);
        if tokens.len() != params.tasks.len() {
            return Err(Error::internal(format!("{} inputs for {} tasks", tokens.len(), params.tasks.len())));
        }
        let mut rows = Vec::new();
        for PlannedTask { task, input } in &params.tasks {
            cx.checkpoint_reached()?;
            let set = read_tokens(&tokens[*input])?;
            let (train, test) = (Lengths::of(&set, "train")?, Lengths::of(&set, "test")?);
            for planned in &params.methods {
                let prompts = |split: &str| Prompts { split: split.to_owned(), max_tokens: None, examples: None };
                let training = TrainingMemory {
                    shape: shape.clone(),
                    model: params.model.name.clone(),
                    method: planned.method.name.clone(),
                    adapter: planned.adapter.clone(),
                    batch_size: planned.batch_size,
                    gradient_accumulation_steps: planned.gradient_accumulation_steps,
                    gradient_checkpointing: planned.gradient_checkpointing,
                    prompts: prompts("train"),
                };
                let evaluation = EvaluationMemory {
                    shape: shape.clone(),
                    model: params.model.name.clone(),
                    adapter: planned.adapter.clone(),
                    answering: Answering::Written,
                    max_new_tokens: None,
                    prompts: prompts("test"),
                };
                rows.push(MemoryRow {
                    task: task.clone(),
                    method: planned.method.clone(),
                    longest_prompt: train.longest_prompt().max(test.longest_prompt()),
                    shared: train.shared,
                    cut: set.truncated("train") + set.truncated("test"),
                    training_row: training.row(&train).tokens,
                    training: planned.adapter.is_trained().then(|| training.parts(&train).0),
                    evaluation: evaluation.parts(&test).0,
                });
            }
        }
        let layout = MemoryLayout {
            title: params.title,
            model: params.model.title,
            parameters: shape.parameters(),
            dtype: shape.dtype.name().to_owned(),
            budget: params.budget,
        };
        for (name, content) in memory_table(&layout, &rows)? {
            let path = cx.out.join(name);
            std::fs::write(&path, content).io_at("write", &path)?;
        }
        Ok(())
    }
}

fn methods(cx: &ResolveContext, names: &[Spanned<String>]) -> Result<Vec<Planned>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        match Method::find(cx, name, name.span) {
            Ok(method) => found.push(Planned {
                method: Named { name: name.value.clone(), title: method.title },
                adapter: method.adapter,
                batch_size: method.training.batch_size,
                gradient_accumulation_steps: method.training.gradient_accumulation_steps,
                gradient_checkpointing: method.runtime.gradient_checkpointing,
            }),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// The tasks of the actions that fill the input `tokens`, in the file's order. Their artifacts come in the order of the
/// actions' names.
fn tasks(cx: &ResolveContext) -> Result<Vec<PlannedTask>, Vec<Diagnostic>> {
    let mut found: Vec<(String, Named)> = Vec::new();
    let inputs = cx.action.inputs.iter().filter(|i| i.role == TOKENS);
    for reference in inputs.flat_map(|i| &i.stages) {
        for action in cx.spec.stage(&reference.stage).into_iter().flat_map(|s| &s.actions) {
            let fits = |(axis, value): &(String, String)| action.axes.iter().any(|(a, v)| a == axis && v == value);
            let Some(task) = action.params.get("task").filter(|_| reference.constraints.iter().all(fits)) else {
                continue;
            };
            let name = task.as_str().unwrap_or_default();
            let definition: Task = definition_at(cx, "task", name, Some(task.span))?;
            let axes: Vec<String> = action.axes.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let action = format!("{}[{}]", reference.stage, axes.join(","));
            found.push((action, Named { name: name.to_owned(), title: definition.title }));
        }
    }
    let mut names: Vec<String> = found.iter().map(|(action, _)| action.clone()).collect();
    names.sort();
    let place = |action: &String| names.iter().position(|n| n == action).unwrap_or_default();
    Ok(found.into_iter().map(|(action, task)| PlannedTask { input: place(&action), task }).collect())
}
