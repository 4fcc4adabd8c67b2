//! Axes, and the combinations of their values that a stage stands for.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::{
    definitions::Definitions,
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    name_rules::{NAME_HELP, valid_name},
    node::{Key, Node, Table, Value},
    suggest::help_for,
};

/// More combinations than anyone means; the next one would only fill the memory.
const MOST_COMBINATIONS: usize = 1_000_000;

/// Comparisons of combinations with exclusions that are worth the wait.
const MOST_EXCLUDED: usize = 100_000_000;

/// One dimension of a matrix.
pub(super) struct Axis {
    pub name: String,
    pub values: Vec<AxisValue>,
}

#[derive(Clone)]
pub(super) struct AxisValue {
    /// As it stands in an action's name.
    pub text: String,
    pub node: Node,
}

/// What `all` and the names of axis values mean.
pub(super) struct Lists<'a> {
    axes: IndexMap<String, Vec<AxisValue>>,
    /// Lists of `[axes]` that are none, as was reported.
    unreadable: HashSet<String>,
    seeds: Vec<AxisValue>,
    definitions: &'a Definitions,
}

impl<'a> Lists<'a> {
    pub fn new(axes: Option<&Table>, seeds: &[Node], definitions: &'a Definitions, sink: &mut Sink) -> Self {
        let mut lists = Self { axes: IndexMap::new(), unreadable: HashSet::new(), seeds: Vec::new(), definitions };
        lists.seeds = lists.values("seed", seeds, sink);
        for (name, (_, node)) in axes.into_iter().flatten() {
            let values = match &node.value {
                Value::Array(items) => lists.values(name, items, sink),
                _ => {
                    sink.push(
                        Diagnostic::new(format!("the axis `{name}` must be a list, not {}", node.kind_name()))
                            .at(node.span)
                            .help(format!("write `{name} = [...]`")),
                    );
                    lists.unreadable.insert(name.clone());
                    continue;
                }
            };
            lists.axes.insert(name.clone(), values);
        }
        lists
    }

    /// The axes of a stage. Where one can't be read it has no values, and the problem is reported.
    pub fn matrix(&self, matrix: &Table, sink: &mut Sink) -> Vec<Axis> {
        let read = |(name, (key, node)): (&String, &(Key, Node))| {
            if name == "params" {
                sink.push(
                    Diagnostic::new("an axis can't be called `params`")
                        .at(key.span)
                        .help("`${params.x}` names the table `[params]`; give the axis another name"),
                );
            }
            Axis { name: name.clone(), values: self.axis(name, node, sink) }
        };
        matrix.iter().map(read).collect()
    }

    fn axis(&self, name: &str, node: &Node, sink: &mut Sink) -> Vec<AxisValue> {
        let values = match &node.value {
            Value::Str(text) if text == "all" && self.unreadable.contains(name) => return Vec::new(),
            Value::Str(text) if text == "all" => match self.all(name) {
                Some(values) => values,
                None => {
                    let mut known: Vec<_> = self.axes.keys().map(String::as_str).collect();
                    known.extend(self.definitions.keys().map(String::as_str).filter(|k| !self.axes.contains_key(*k)));
                    known.push("seed");
                    sink.push(
                        Diagnostic::new(format!("there is no list of all values of `{name}`"))
                            .at(node.span)
                            .help(format!("{}; or write the values: `{name} = [...]`", help_for(name, &known, "axes"))),
                    );
                    return Vec::new();
                }
            },
            Value::Array(items) if items.is_empty() => Vec::new(),
            // Where none of the values can be, that has been said.
            Value::Array(items) => return self.values(name, items, sink),
            _ => {
                sink.push(
                    Diagnostic::new(format!("the axis `{name}` must be a list or \"all\", not {}", node.kind_name()))
                        .at(node.span)
                        .help(format!("write `{name} = [...]` or `{name} = \"all\"`")),
                );
                return Vec::new();
            }
        };
        if values.is_empty() {
            let help = if self.definitions.get(name).is_some_and(IndexMap::is_empty) && !self.axes.contains_key(name) {
                format!("define a `[{name}.NAME]`, or leave the axis out")
            } else {
                "give it a value, or leave the axis out".to_owned()
            };
            sink.push(
                Diagnostic::new(format!("the axis `{name}` has no values, so the matrix is empty"))
                    .at(node.span)
                    .help(help),
            );
        }
        values
    }

    fn all(&self, axis: &str) -> Option<Vec<AxisValue>> {
        if let Some(values) = self.axes.get(axis) {
            return Some(values.clone());
        }
        if let Some(names) = self.definitions.get(axis) {
            let value = |(name, node): (&String, &Node)| AxisValue {
                text: name.clone(),
                node: Node::new(node.span, Value::Str(name.clone())),
            };
            return Some(names.iter().map(value).collect());
        }
        (axis == "seed").then(|| self.seeds.clone())
    }

    /// The values of a list, without those that can't be.
    fn values(&self, axis: &str, items: &[Node], sink: &mut Sink) -> Vec<AxisValue> {
        let mut seen = HashSet::new();
        items
            .iter()
            .filter_map(|node| {
                let text = self.value(axis, node, sink)?;
                if !seen.insert(text.clone()) {
                    sink.push(
                        Diagnostic::new(format!("`{text}` is listed twice for the axis `{axis}`"))
                            .at(node.span)
                            .help("keep one of the two"),
                    );
                    return None;
                }
                Some(AxisValue { text, node: node.clone() })
            })
            .collect()
    }

    /// The name of an axis value, if it is one.
    fn value(&self, axis: &str, node: &Node, sink: &mut Sink) -> Option<String> {
        let Some(text) = node.scalar_text() else {
            sink.push(
                Diagnostic::new(format!("a value of the axis `{axis}` can't be {}", node.kind_name()))
                    .at(node.span)
                    .help("axis values are strings, numbers, true and false"),
            );
            return None;
        };
        if let Some(names) = self.definitions.get(axis) {
            if !names.contains_key(&text) {
                if sink.is_full() {
                    return None;
                }
                let known: Vec<_> = names.keys().map(String::as_str).collect();
                sink.push(Diagnostic::new(format!("there is no {axis} `{text}`")).at(node.span).help(help_for(
                    &text,
                    &known,
                    &format!("values of `{axis}`"),
                )));
                return None;
            }
        } else if !valid_name(&text) {
            sink.push(
                Diagnostic::new(format!("`{text}` can't be a value of the axis `{axis}`"))
                    .at(node.span)
                    .help(NAME_HELP),
            );
            return None;
        }
        Some(text)
    }

    /// The combinations that an `exclude` list drops, as tests on the axes.
    pub fn exclusions(&self, node: &Node, axes: &[Axis], sink: &mut Sink) -> Vec<Exclusion> {
        let Value::Array(items) = &node.value else {
            sink.push(
                Diagnostic::new(format!("`exclude` must be a list of tables, not {}", node.kind_name()))
                    .at(node.span)
                    .help("write `exclude = [{ task = \"x\" }]`"),
            );
            return Vec::new();
        };
        items.iter().filter_map(|item| self.exclusion(item, axes, sink)).collect()
    }

    fn exclusion(&self, item: &Node, axes: &[Axis], sink: &mut Sink) -> Option<Exclusion> {
        let Some(table) = item.as_table().filter(|table| !table.is_empty()) else {
            let found = if item.as_table().is_some() { "an empty one" } else { item.kind_name() };
            sink.push(
                Diagnostic::new(format!("`exclude` must list tables of axes and values, not {found}"))
                    .at(item.span)
                    .help("write `exclude = [{ task = \"x\" }]`"),
            );
            return None;
        };
        let mut dropped = Vec::new();
        for (name, (key, node)) in table {
            let Some(axis) = axes.iter().position(|axis| axis.name == *name) else {
                if sink.is_full() {
                    continue;
                }
                let known: Vec<_> = axes.iter().map(|axis| axis.name.as_str()).collect();
                sink.push(
                    Diagnostic::new(format!("`{name}` is no axis of this stage"))
                        .at(key.span)
                        .help(help_for(name, &known, "axes")),
                );
                continue;
            };
            let one = std::slice::from_ref(node);
            let texts: HashSet<_> =
                node.as_array().unwrap_or(one).iter().filter_map(|value| self.value(name, value, sink)).collect();
            dropped.push((axis, axes[axis].values.iter().map(|v| texts.contains(&v.text)).collect()));
        }
        (dropped.len() == table.len()).then_some(Exclusion(dropped))
    }
}

/// Drops the combinations whose values are marked on every axis that is named.
pub(super) struct Exclusion(Vec<(usize, Vec<bool>)>);

impl Exclusion {
    fn drops(&self, combination: &[usize]) -> bool {
        self.0.iter().all(|(axis, marked)| marked[combination[*axis]])
    }
}

/// All combinations, as indices into the axes' values; the last axis runs fastest. `None` if there are too many.
pub(super) fn combinations(axes: &[Axis], exclusions: &[Exclusion]) -> Option<Vec<Vec<usize>>> {
    let total = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()))?;
    if total > MOST_COMBINATIONS || total.saturating_mul(exclusions.len()) > MOST_EXCLUDED {
        return None;
    }
    let mut kept = Vec::new();
    let mut combination = vec![0; axes.len()];
    for mut rest in 0..total {
        for (i, axis) in axes.iter().enumerate().rev() {
            combination[i] = rest % axis.values.len();
            rest /= axis.values.len();
        }
        if !exclusions.iter().any(|e| e.drops(&combination)) {
            kept.push(combination.clone());
        }
    }
    Some(kept)
}
