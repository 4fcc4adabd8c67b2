//! Planning of `evaluate`: model, task and method looked up, and held against one another.

use std::{collections::BTreeMap, sync::Arc};

use super::evaluate_table::{AnswerMode, EvaluateParams, EvaluateTable};
use crate::{
    config::Diagnostic,
    data::{TaskDefinition, task_definition},
    engine::{MemoryEstimate, ResolveContext, Resolved, TimeEstimate, TypedStage},
    estimate::{EvaluationEstimate, ModelShape, Prompts},
    eval::{MethodContext, ModelContext, TaskContext, bootstrap::Bootstrap},
    models::{
        AdapterSpec,
        adapters::{Stated, UntrainedOptions},
        numerics, usual_targets,
    },
    stages::{
        answer_words::without_words,
        device::on_device,
        lookup::{both, definition, diagnostic_at, json, span},
        tables::{Method, ModelTable},
        train::Train,
    },
};

/// Bytes, where the model's sizes are unknown: a backbone of 135 M parameters in f32 (0.6 GiB) and the activations of one
/// packed row.
const MEMORY: u64 = 1024 << 20;

/// The description of an evaluation.
///
/// # Errors
/// All that is wrong with the stage.
pub(super) fn resolve(cx: &ResolveContext, table: EvaluateTable) -> Result<Resolved<EvaluateParams>, Vec<Diagnostic>> {
    let model = definition::<ModelTable>(cx, "model", &table.model);
    let task = task_definition::task(cx.spec, &table.task, span(cx, "task"));
    let method = table.method.as_deref().map(|name| Method::find(cx, name, span(cx, "method"))).transpose();
    let ((model, task), method) = both(both(model, task), method)?;
    let mut diagnostics = diagnostics(cx, &table, method.as_ref());
    let name = table.method.as_deref().unwrap_or("zero-shot");
    diagnostics.extend(without_words(cx, &model, name, method.as_ref().is_some_and(|m| m.head)));
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let targets =
        usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "family"], e)])?;
    let adapter = method.as_ref().map_or_else(|| UntrainedOptions {}.into(), |m| m.adapter.clone());
    let adapter = adapter.completed(targets);
    let unkeyed = json(&adapter)?;
    let estimate = estimate(cx, &table, &model, adapter)?.map(Arc::new);
    Ok(Resolved {
        unkeyed,
        numerics: Some(numerics(table.device, model.dtype)),
        resources: on_device(table.device, MEMORY),
        memory: estimate.clone().map(|e| e as Arc<dyn MemoryEstimate>),
        time: estimate.map(|e| e as Arc<dyn TimeEstimate>),
        ..Resolved::of(params(cx, table, model, task, method))
    })
}

/// What the evaluation will need, where the model's sizes are known.
fn estimate(
    cx: &ResolveContext,
    table: &EvaluateTable,
    model: &ModelTable,
    adapter: AdapterSpec,
) -> Result<Option<EvaluationEstimate>, Vec<Diagnostic>> {
    let shape = ModelShape::of(&model.backbone(), table.device)
        .map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "config"], e)])?;
    Ok(shape.map(|shape| EvaluationEstimate {
        shape,
        model: table.model.clone(),
        adapter,
        answering: table.answer.answering(),
        max_new_tokens: table.max_new_tokens,
        prompts: Prompts::of(cx.spec, cx.action, &table.split),
    }))
}

fn params(
    cx: &ResolveContext,
    table: EvaluateTable,
    model: ModelTable,
    task: TaskDefinition,
    method: Option<Method>,
) -> EvaluateParams {
    EvaluateParams {
        backbone: model.backbone(),
        model: ModelContext {
            title: model.title.unwrap_or_else(|| table.model.clone()),
            license: model.license.unwrap_or_else(|| "not stated".to_owned()),
            name: table.model,
        },
        task: task_context(task),
        adapter: method.as_ref().filter(|m| m.is_trained()).map(|m| stated(cx, m)),
        method: match (table.method, method) {
            (Some(name), Some(method)) => MethodContext { name, title: method.title },
            _ => MethodContext { name: "zero-shot".to_owned(), title: "Zero-shot".to_owned() },
        },
        seed: table.seed,
        split: table.split,
        answer: table.answer,
        max_new_tokens: table.max_new_tokens,
        bootstrap: Bootstrap {
            samples: table.bootstrap.samples,
            level: table.bootstrap.level,
            seed: table.bootstrap.seed,
        },
        device: table.device,
    }
}

/// What the adapter has to be. One that this pipeline trains has the method's options, or a result that was accepted in its
/// place: its differences are told where it is used.
fn stated(cx: &ResolveContext, method: &Method) -> Stated {
    let trained = |stage: &str| cx.spec.stages.iter().any(|s| s.name == stage && s.kind == Train::NAME);
    let mut sources = cx.action.inputs.iter().filter(|i| i.role == "adapter").flat_map(|i| &i.stages);
    let options = if sources.all(|s| trained(&s.stage)) { BTreeMap::new() } else { method.stated.options.clone() };
    Stated { options, ..method.stated.clone() }
}

/// What the table's keys say against one another.
fn diagnostics(cx: &ResolveContext, table: &EvaluateTable, method: Option<&Method>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let name = table.method.as_deref().unwrap_or("zero-shot");
    match (table.answer, method.is_some_and(|m| m.head)) {
        (AnswerMode::Head, false) => found.push(
            Diagnostic::new(format!("`answer = \"head\"`, but the method `{name}` trains no head"))
                .at(span(cx, "answer"))
                .help("give the method `head = true`, or let the model answer: `answer = \"generate\"` or `\"rank\"`"),
        ),
        (AnswerMode::Rank | AnswerMode::Generate, true) => found.push(
            Diagnostic::new(format!(
                "the method `{name}` trains a classification head, but the stage has `answer = \"{}\"`",
                table.answer.name()
            ))
            .at(span(cx, "answer").or(span(cx, "method")))
            .help("set `answer = \"head\"`, or leave `head` out of the method"),
        ),
        _ => (),
    }
    if let Some(tokens) = table.max_new_tokens {
        let at = span(cx, "max_new_tokens");
        if table.answer != AnswerMode::Generate {
            found.push(Diagnostic::new("`max_new_tokens` says something only with `answer = \"generate\"`").at(at));
        } else if tokens == 0 {
            found.push(Diagnostic::new("`max_new_tokens` must be at least 1").at(at));
        }
    }
    if method.is_some_and(Method::is_trained) && !cx.action.inputs.iter().any(|input| input.role == "adapter") {
        let method = table.method.as_deref().unwrap_or_default();
        found.push(
            Diagnostic::new(format!("the method `{method}` trains an adapter, but this stage has no `adapter` input"))
                .at(span(cx, "method"))
                .help("add `adapter = \"train\"` (the name of the training stage) to the stage's `inputs`"),
        );
    }
    if !["train", "dev", "test"].contains(&table.split.as_str()) {
        found.push(
            Diagnostic::new(format!("there is no split `{}`", table.split))
                .at(span(cx, "split"))
                .help("splits are `train`, `dev` and `test`"),
        );
    }
    if table.bootstrap.samples == 0 || !(table.bootstrap.level > 0.0 && table.bootstrap.level < 1.0) {
        found.push(
            Diagnostic::new("a bootstrap needs at least one sample and a level between 0 and 1")
                .at(span(cx, "bootstrap")),
        );
    }
    found
}

fn task_context(definition: TaskDefinition) -> TaskContext {
    let TaskDefinition { name, task, card, .. } = definition;
    TaskContext {
        name,
        title: task.title,
        dataset: card.title,
        scheme: task.scheme,
        construct: card.construct,
        language: card.language,
    }
}
