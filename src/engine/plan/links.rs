//! Finds the actions that an action's inputs mean.

use std::collections::HashMap;

use super::action::Action;
use crate::config::{ActionSpec, Diagnostic, InputSpec, StageRef};

/// Inputs of all actions together; more are a gathering that nobody meant.
const MOST_LINKS: usize = 4_000_000;

/// Fills in the inputs of every action. `specs` are what the actions were made from, in their order. Gives what is wrong.
pub fn link(actions: &mut [Action], specs: &[&ActionSpec]) -> Vec<Diagnostic> {
    let mut by_stage: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, action) in actions.iter().enumerate() {
        match by_stage.get_mut(&action.stage) {
            Some(members) => members.push(i),
            None => drop(by_stage.insert(action.stage.clone(), vec![i])),
        }
    }
    let mut links = Links { by_stage, tables: HashMap::new() };
    let (mut count, mut diagnostics) = (0, Vec::new());
    for i in 0..actions.len() {
        for input in &specs[i].inputs {
            match links.resolve(input, &actions[i].axes, actions) {
                Ok(found) => {
                    count += found.len();
                    actions[i].inputs.entry(input.role.clone()).or_default().extend(found);
                }
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
            if count > MOST_LINKS {
                return vec![too_many_links(&actions[i].stage, input)];
            }
        }
    }
    diagnostics
}

fn too_many_links(stage: &str, input: &InputSpec) -> Diagnostic {
    Diagnostic::new(format!("with `{}` of `{stage}`, actions name more than {MOST_LINKS} inputs", input.role))
        .at(input.span)
        .help("give both stages a common axis, so that each action gathers less")
}

type Axes = [(String, String)];

/// Finds the actions that an input means, without comparing every pair of actions.
struct Links {
    by_stage: HashMap<String, Vec<usize>>,
    /// Per upstream stage and set of axes that must agree: axis values to actions.
    tables: HashMap<(String, Vec<String>), ByAxes>,
}

/// Actions by the values of some axes.
type ByAxes = HashMap<Vec<String>, Vec<usize>>;

impl Links {
    fn resolve(&mut self, input: &InputSpec, axes: &Axes, actions: &[Action]) -> Result<Vec<usize>, Diagnostic> {
        let mut found = Vec::new();
        for stage in &input.stages {
            found.extend(self.stage(stage, axes, actions)?);
        }
        found.sort_by(|a, b| actions[*a].name.cmp(&actions[*b].name));
        found.dedup();
        Ok(found)
    }

    fn stage(&mut self, reference: &StageRef, axes: &Axes, actions: &[Action]) -> Result<Vec<usize>, Diagnostic> {
        let none: Vec<usize> = Vec::new();
        let members = self.by_stage.get(reference.stage.as_str()).unwrap_or(&none);
        let upstream: &Axes = members.first().map_or(&[], |m| &actions[*m].axes);
        let mut wanted: Vec<(String, String)> = reference.constraints.clone();
        for (axis, value) in axes {
            if upstream.iter().any(|(k, _)| k == axis) && !wanted.iter().any(|(k, _)| k == axis) {
                wanted.push((axis.clone(), value.clone()));
            }
        }
        wanted.sort();
        let (names, values): (Vec<String>, Vec<String>) = wanted.iter().cloned().unzip();
        let table = self.tables.entry((reference.stage.clone(), names.clone())).or_insert_with(|| {
            let mut table = ByAxes::new();
            for &m in members {
                let value = |n: &String| {
                    actions[m].axes.iter().find(|(k, _)| k == n).map_or_else(String::new, |(_, v)| v.clone())
                };
                table.entry(names.iter().map(value).collect()).or_default().push(m);
            }
            table
        });
        table.get(&values).cloned().ok_or_else(|| {
            let wanted: Vec<String> = wanted.iter().map(|(k, v)| format!("{k}={v}")).collect();
            Diagnostic::new(format!("no action of `{}` has {}", reference.stage, wanted.join(", ")))
                .at(reference.span)
                .help("widen that stage's matrix, or exclude this combination here")
        })
    }
}
