//! The axes of the evaluations that reach a report, known before anything is run.

use std::collections::{BTreeSet, HashSet};

use super::collect::EVALUATIONS;
use crate::{
    config::{ActionSpec, Diagnostic, Node, Spanned, Spec, suggest},
    report::{Axes, AxisLayout, Named, SEED},
};

/// Keys of an evaluation's table that name a definition. They are axes also where its matrix doesn't have them.
const NAMED: [&str; 4] = ["task", "method", "model", SEED];

/// An unadapted model needs no `[method]` table to be a row.
pub const ZERO_SHOT: (&str, &str) = ("zero-shot", "Zero-shot");

/// The evaluations of a report stage and their axes.
pub struct Evaluations<'a> {
    spec: &'a Spec,
    /// In the order of the file.
    found: Vec<Axes>,
    /// Positions in `found`, in the order of the inputs.
    inputs: Vec<usize>,
}

impl<'a> Evaluations<'a> {
    /// What fills the input `evaluations` of this action.
    pub fn of(spec: &'a Spec, action: &ActionSpec) -> Self {
        let mut found: Vec<(String, Axes)> = Vec::new();
        let mut seen = HashSet::new();
        let inputs = action.inputs.iter().filter(|input| input.role == EVALUATIONS);
        for reference in inputs.flat_map(|input| &input.stages) {
            for upstream in spec.stage(&reference.stage).into_iter().flat_map(|stage| &stage.actions) {
                let fixed = |axis: &String| reference.constraints.iter().any(|(name, _)| name == axis);
                let agrees =
                    |(axis, value): &(String, String)| upstream.axes.iter().all(|(a, v)| a != axis || v == value);
                let common = action.axes.iter().filter(|(axis, _)| !fixed(axis));
                let name = name(&reference.stage, upstream);
                if reference.constraints.iter().chain(common).all(agrees) && seen.insert(name.clone()) {
                    found.push((name, axes(&reference.stage, upstream)));
                }
            }
        }
        let mut inputs: Vec<usize> = (0..found.len()).collect();
        inputs.sort_by(|a, b| found[*a].0.cmp(&found[*b].0));
        Self { spec, found: found.into_iter().map(|(_, axes)| axes).collect(), inputs }
    }

    /// The axes of each evaluation, in the order of the inputs.
    pub fn in_order(&self) -> Vec<Axes> {
        self.inputs.iter().map(|i| self.found[*i].clone()).collect()
    }

    /// Sees to it that evaluations have the axis `name` where there is such a one, also if it is a field of a definition.
    ///
    /// # Errors
    /// If none has it.
    pub fn know(&mut self, name: &Spanned<String>) -> Result<(), Diagnostic> {
        if let Some((axis, field)) = name.split_once('.') {
            for axes in &mut self.found {
                let value =
                    axes.get(axis).and_then(|v| self.spec.definitions.get(axis)?.get(v)?.get(field)?.scalar_text());
                axes.extend(value.map(|value| (name.value.clone(), value)));
            }
        }
        if self.found.iter().any(|axes| axes.contains_key(&name.value)) {
            return Ok(());
        }
        let known = self.names();
        let near = suggest(name, known.iter().map(String::as_str));
        let bare = known.iter().filter(|n| !n.contains('.')).map(|n| format!("`{n}`")).collect::<Vec<_>>();
        Err(Diagnostic::new(format!("no evaluation of this report has an axis `{}`", name.value)).at(name.span).help(
            match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("axes: {}; a field of a definition is one, too: `method.adapter.rank`", bare.join(", "))
                }
            },
        ))
    }

    /// An axis and its values, titled as their definitions are, in the order of the file.
    ///
    /// # Errors
    /// If no evaluation has the axis, or if it is the seed.
    pub fn axis(&mut self, name: &Spanned<String>, shown: impl Fn(&Axes) -> bool) -> Result<AxisLayout, Diagnostic> {
        if name.value == SEED {
            return Err(
                Diagnostic::new("`seed` is no axis of a layout: figures are means over all seeds").at(name.span)
            );
        }
        self.know(name)?;
        let mut seen = BTreeSet::new();
        let values = self.found.iter().filter(|axes| shown(axes)).filter_map(|axes| axes.get(&name.value));
        let values: Vec<Named> = values.filter(|v| seen.insert(*v)).map(|v| self.named(name, v)).collect();
        if values.is_empty() {
            return Err(Diagnostic::new(format!("no evaluation that `where` leaves has an axis `{}`", name.value))
                .at(name.span));
        }
        Ok(AxisLayout { name: name.value.clone(), values })
    }

    /// The values of an axis that a `where` means by one of its own.
    pub fn values(&self, axis: &str) -> BTreeSet<&str> {
        self.found.iter().filter_map(|axes| axes.get(axis)).map(String::as_str).collect()
    }

    fn named(&self, axis: &str, value: &str) -> Named {
        let title = self.spec.definitions.get(axis).and_then(|all| all.get(value)?.get("title")?.as_str());
        let usual = if (axis, value) == ("method", ZERO_SHOT.0) { ZERO_SHOT.1 } else { value };
        Named { name: value.to_owned(), title: title.unwrap_or(usual).to_owned() }
    }

    /// All names of axes: those that evaluations have, and fields of the definitions that they name.
    fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.found.iter().flat_map(|axes| axes.keys().cloned()).collect();
        let fields =
            names.iter().flat_map(|axis| self.spec.definitions.get(axis).into_iter().map(move |all| (axis, all)));
        let fields: Vec<String> =
            fields.flat_map(|(axis, all)| all.values().flat_map(move |definition| leaves(axis, definition))).collect();
        names.extend(fields);
        names.remove(SEED);
        names
    }
}

/// Dotted names of the values of a definition that aren't tables or lists.
fn leaves(prefix: &str, node: &Node) -> Vec<String> {
    let entries = node.as_table().into_iter().flatten();
    entries
        .flat_map(|(key, (_, value))| {
            let name = format!("{prefix}.{key}");
            if value.scalar_text().is_some() { vec![name] } else { leaves(&name, value) }
        })
        .collect()
}

fn name(stage: &str, action: &ActionSpec) -> String {
    let axes: Vec<String> = action.axes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if axes.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", axes.join(",")) }
}

/// The stage, what the table names, and the matrix, which has the last word.
fn axes(stage: &str, action: &ActionSpec) -> Axes {
    let named = NAMED.into_iter().filter_map(|key| Some((key.to_owned(), action.params.get(key)?.scalar_text()?)));
    let mut axes: Axes = std::iter::once(("stage".to_owned(), stage.to_owned())).chain(named).collect();
    if axes.contains_key("task") {
        axes.entry("method".to_owned()).or_insert_with(|| ZERO_SHOT.0.to_owned());
    }
    axes.extend(action.axes.iter().cloned());
    axes
}
