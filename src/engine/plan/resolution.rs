//! From a stage's table and a combination of its matrix to an action with every default filled in.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::action::Action;
use crate::{
    base::machine::Resources,
    config::{self, ActionSpec, Diagnostic, Node, Spec, StageSpec},
    engine::{Registry, ResolveContext, StageKind, parallel},
};

/// All actions of a specification with what each was made from, and what is wrong with the others.
pub fn resolve_all(spec: &Spec, registry: Registry) -> (Vec<(&ActionSpec, Action)>, Vec<Diagnostic>) {
    let mut described = Vec::new();
    for stage in &spec.stages {
        let Some(kind) = registry.iter().find(|k| k.name() == stage.kind) else { continue };
        described.extend(stage.actions.iter().map(|action| (stage, action, *kind)));
    }
    let one = |(stage, action, kind)| resolve(spec, stage, action, kind).map(|resolved| (action, resolved));
    let (mut actions, mut diagnostics) = (Vec::with_capacity(described.len()), Vec::new());
    for resolved in parallel::map(described, one) {
        match resolved {
            Ok(resolved) => actions.push(resolved),
            Err(found) => diagnostics.extend(found),
        }
    }
    (actions, diagnostics)
}

fn resolve(
    spec: &Spec,
    stage: &StageSpec,
    action: &ActionSpec,
    kind: &'static dyn StageKind,
) -> Result<Action, Vec<Diagnostic>> {
    let mut resolved = kind.resolve(&ResolveContext { spec, action })?;
    if let Some(node) = &action.resources {
        resolved.resources = resources(node, resolved.resources)?;
    }
    let axes: Vec<String> = action.axes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let name = if axes.is_empty() { stage.name.clone() } else { format!("{}[{}]", stage.name, axes.join(",")) };
    Ok(Action {
        name,
        stage: stage.name.clone(),
        axes: action.axes.clone(),
        kind,
        resolved,
        inputs: BTreeMap::new(),
        export: action.export.clone(),
        memory_is_set: action.resources.as_ref().is_some_and(|r| r.get("memory").is_some()),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceTable {
    cores: Option<u32>,
    memory: Option<String>,
    gpus: Option<u32>,
}

fn resources(node: &Node, default: Resources) -> Result<Resources, Vec<Diagnostic>> {
    let table: ResourceTable = config::from_node(node)?;
    let memory = match &table.memory {
        None => default.memory,
        Some(text) => config::parse_size(text).ok_or_else(|| {
            vec![
                Diagnostic::new(format!("`{text}` is not an amount of memory"))
                    .at(node.get("memory").map_or(node.span, |n| n.span))
                    .help("write a number and a unit, such as \"2 GiB\" or \"512 MiB\""),
            ]
        })?,
    };
    Ok(Resources { cores: table.cores.unwrap_or(default.cores), memory, gpus: table.gpus.unwrap_or(default.gpus) })
}

/// Each problem once.
pub fn distinct(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    diagnostics.retain(|p| seen.insert((p.message.clone(), p.span)));
    diagnostics
}
