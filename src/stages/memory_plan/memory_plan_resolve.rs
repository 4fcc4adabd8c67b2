//! Planning of `memory-plan`: the model, its methods, and the tasks whose tokens come in.

use std::sync::Arc;

use super::memory_plan_table::{MemoryPlanParams, MemoryPlanTable, PlannedMethod, PlannedTask, TOKENS};
use crate::{
    base::machine::Resources,
    config::{Diagnostic, Spanned},
    data::Task,
    engine::{ResolveContext, Resolved, Usual},
    models::usual_targets,
    report::Named,
    stages::{
        lookup::{both, definition, definition_at, diagnostic_at, span},
        tables::{Method, ModelTable},
    },
};

/// The description of a memory plan.
///
/// # Errors
/// All that is wrong with the stage.
pub(super) fn resolve(
    cx: &ResolveContext,
    table: MemoryPlanTable,
) -> Result<Resolved<MemoryPlanParams>, Vec<Diagnostic>> {
    let model = definition::<ModelTable>(cx, "model", &table.model);
    let (model, (methods, tasks)) = both(model, both(methods(cx, &table.methods), tasks(cx)))?;
    let targets =
        usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "family"], e)])?;
    let methods = methods.into_iter().map(|m| PlannedMethod { adapter: m.adapter.completed(targets), ..m });
    let mut missing = Vec::new();
    if model.config.is_empty() {
        missing.push(
            Diagnostic::new(format!("the sizes of model `{}` aren't known without its weights", table.model))
                .at(span(cx, "model"))
                .help(format!("state the keys of its config.json in `[model.{}.config]`", table.model)),
        );
    }
    let params = MemoryPlanParams {
        title: table.title,
        backbone: model.backbone(),
        model: Named { title: model.title.unwrap_or_else(|| table.model.clone()), name: table.model },
        methods: methods.collect(),
        tasks,
        budget: table.budget.0,
        device: table.device,
    };
    Ok(Resolved {
        resources: Resources { memory: 256 << 20, ..Resources::default() },
        missing,
        time: Some(Arc::new(Usual(0.5))),
        ..Resolved::of(params)
    })
}

fn methods(cx: &ResolveContext, names: &[Spanned<String>]) -> Result<Vec<PlannedMethod>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut diagnostics = Vec::new();
    for name in names {
        match Method::find(cx, name, name.span) {
            Ok(method) => found.push(PlannedMethod {
                method: Named { name: name.value.clone(), title: method.title },
                adapter: method.adapter,
                batch_size: method.training.batch_size,
                gradient_accumulation_steps: method.training.gradient_accumulation_steps,
                gradient_checkpointing: method.runtime.gradient_checkpointing,
            }),
            Err(more) => diagnostics.extend(more),
        }
    }
    if diagnostics.is_empty() { Ok(found) } else { Err(diagnostics) }
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
