//! Stage tables: the common keys, the matrix, and one [`ActionSpec`] for each of its combinations.

use std::collections::HashSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ActionSpec, Diagnostic, Entry, InputSpec, Node, Size, SourceMap, Span, StageRef, StageSpec, Table, Value,
    de::check,
    diagnostic::Sink,
    interpolation::{Scope, Template},
    matrix::{Axis, Lists, combinations},
    suggest::help_for,
};

/// Keys that every stage has, whatever its kind; all others are the kind's own.
pub const COMMON_KEYS: [&str; 6] = ["kind", "matrix", "exclude", "inputs", "resources", "export"];

/// What one action of a stage occupies while it runs; what is left out is estimated by the stage's kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRequest {
    /// Threads.
    pub cores: Option<u32>,
    /// Bytes, or a size such as `"2 GiB"`.
    pub memory: Option<Size>,
    /// Whole devices.
    pub gpus: Option<u32>,
}

/// Bytes that an action takes beside its values, roughly.
const ACTION: usize = 256;

/// A stage whose matrix is known, so that others can refer to its axes.
pub(super) struct Stage<'a> {
    name: &'a str,
    span: Span,
    table: &'a Table,
    axes: Vec<Axis>,
    combinations: Vec<Vec<usize>>,
}

/// What one stage needs of another.
pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    pub span: Span,
}

impl<'a> Stage<'a> {
    pub fn new(name: &'a str, node: &'a Node, table: &'a Table, lists: &Lists, sink: &mut Sink) -> Self {
        let matrix = table.get("matrix").map(|(_, matrix)| matrix);
        let axes = match matrix.map(|node| (node, &node.value)) {
            None => Vec::new(),
            Some((_, Value::Table(matrix))) => lists.matrix(matrix, sink),
            Some((node, _)) => {
                sink.push(
                    Diagnostic::new(format!("`matrix` must be a table of axes, not {}", node.kind_name()))
                        .at(node.span)
                        .help("write `matrix = { task = \"all\" }`"),
                );
                Vec::new()
            }
        };
        let exclude = table.get("exclude").map(|(_, exclude)| exclude);
        let exclusions = exclude.map(|node| lists.exclusions(node, &axes, sink)).unwrap_or_default();
        let place = matrix.map_or(node.span, |m| m.span);
        let combinations = combinations(&axes, &exclusions).unwrap_or_else(|| {
            let sizes: Vec<_> = axes.iter().map(|axis| axis.values.len().to_string()).collect();
            sink.push(
                Diagnostic::new(format!("the matrix of `{name}` has more combinations than can be meant"))
                    .at(place)
                    .label(sizes.join(" x "))
                    .help("leave out an axis, or list fewer values"),
            );
            Vec::new()
        });
        if combinations.is_empty() && axes.iter().all(|axis| !axis.values.is_empty()) && !exclusions.is_empty() {
            sink.push(
                Diagnostic::new(format!("`exclude` drops every combination of the matrix of `{name}`"))
                    .at(exclude.map(|e| e.span))
                    .help("drop fewer, or leave the stage out"),
            );
        }
        // A stage that is too much for the rest of the pipeline has no actions; that has been said.
        let room = sink.make_bytes(combinations.len() * ACTION, place);
        let combinations = if room { combinations } else { Vec::new() };
        Self { name, span: node.span, table, axes, combinations }
    }

    fn axis_names(&self) -> Vec<&str> {
        self.axes.iter().map(|axis| axis.name.as_str()).collect()
    }
}

/// Everything that the actions of all stages are made from.
pub(super) struct Expander<'a> {
    pub stages: &'a IndexMap<&'a str, Stage<'a>>,
    pub kinds: &'a [Entry],
    pub params: Option<&'a Node>,
    pub definitions: &'a super::matrix::Definitions,
    pub sources: &'a SourceMap,
}

impl Expander<'_> {
    /// The actions of the stage at `index`, and the edges to the stages it needs; no stage if its kind is unknown.
    pub fn expand(&self, index: usize, edges: &mut Vec<Edge>, sink: &mut Sink) -> Option<StageSpec> {
        let stage = &self.stages[index];
        let scope =
            Scope { axes: &stage.axes, params: self.params, definitions: self.definitions, sources: self.sources };
        let kind = self.kind(stage, sink);
        let mut inputs = self.inputs(stage, &scope, sink);
        let own = stage.table.iter().filter(|(name, _)| !COMMON_KEYS.contains(&name.as_str()));
        let params =
            Template::compile_table(own.map(|(name, (key, node))| (name, key, node)), stage.span, &scope, sink);
        let compile =
            |key: &str, sink: &mut Sink| stage.table.get(key).map(|(_, node)| Template::compile(node, &scope, sink));
        let resources = compile("resources", sink);
        let export = compile("export", sink);

        let mut links = Links { expander: self, from: index, seen: HashSet::new(), edges };
        for template in inputs.iter_mut().flat_map(|input| &mut input.stages) {
            links.check_fixed(template, sink);
        }
        let mut checked_params = Checked::new(&params, stage.axes.len());
        let mut checked_resources = resources.as_ref().map(|r| Checked::new(r, stage.axes.len()));
        let mut actions = Vec::with_capacity(stage.combinations.len());
        for combination in &stage.combinations {
            if sink.is_full() {
                break;
            }
            let filled_params = params.fill(combination, sink);
            if let (Some(node), Some(kind)) = (&filled_params, kind)
                && checked_params.is_new(combination)
            {
                sink.extend((kind.check)(node));
            }
            let mut filled_inputs = Vec::with_capacity(inputs.len());
            inputs.iter().for_each(|input| filled_inputs.extend(input.fill(combination, &mut links, sink)));
            let filled_resources = resources.as_ref().map(|r| r.fill(combination, sink));
            if let (Some(Some(node)), Some(checked)) = (&filled_resources, &mut checked_resources)
                && checked.is_new(combination)
            {
                sink.extend(check::<ResourceRequest>(node));
            }
            let filled_export = export.as_ref().map(|e| e.fill_text(combination, "`export`", sink));
            let Some(params) = filled_params.filter(|_| filled_inputs.len() == inputs.len()) else { continue };
            actions.push(ActionSpec {
                axes: stage
                    .axes
                    .iter()
                    .zip(combination)
                    .map(|(axis, &value)| (axis.name.clone(), axis.values[value].text.clone()))
                    .collect(),
                params,
                inputs: filled_inputs,
                resources: filled_resources.flatten(),
                export: filled_export.flatten(),
            });
        }
        let export_span = stage.table.get("export").map(|(_, node)| node.span);
        let (name, kind) = (stage.name.to_owned(), kind?.name.to_owned());
        Some(StageSpec { name, kind, span: stage.span, export_span, actions })
    }

    fn kind(&self, stage: &Stage, sink: &mut Sink) -> Option<&Entry> {
        let known: Vec<_> = self.kinds.iter().map(|entry| entry.name).collect();
        let Some((_, node)) = stage.table.get("kind") else {
            sink.push(
                Diagnostic::new(format!("the stage `{}` has no `kind`", stage.name))
                    .at(stage.span)
                    .help(format!("add `kind = \"...\"`; known kinds: {}", known.join(", "))),
            );
            return None;
        };
        let Some(name) = node.as_str() else {
            sink.push(Diagnostic::new(format!("`kind` must be a string, not {}", node.kind_name())).at(node.span));
            return None;
        };
        let found = self.kinds.iter().find(|entry| entry.name == name);
        if found.is_none() {
            sink.push(
                Diagnostic::new(format!("there is no stage kind `{name}`"))
                    .at(node.span)
                    .help(help_for(name, &known, "kinds")),
            );
        }
        found
    }

    fn inputs(&self, stage: &Stage, scope: &Scope, sink: &mut Sink) -> Vec<InputTemplate> {
        let Some((_, node)) = stage.table.get("inputs") else { return Vec::new() };
        let Some(roles) = node.as_table() else {
            sink.push(
                Diagnostic::new(format!("`inputs` must be a table of roles, not {}", node.kind_name()))
                    .at(node.span)
                    .help("write `inputs = { role = \"stage\" }`"),
            );
            return Vec::new();
        };
        let input = |(role, (_, node)): (&String, &(super::Key, Node))| {
            let one = std::slice::from_ref(node);
            let stages = node.as_array().unwrap_or(one).iter();
            let stages = stages.filter_map(|node| match node.as_str() {
                Some(text) => RefTemplate::compile(text, node.span, scope, sink),
                None => {
                    sink.push(
                        Diagnostic::new(format!("the input `{role}` must name stages, not {}", node.kind_name()))
                            .at(node.span)
                            .help(format!("write `{role} = \"stage\"` or `{role} = [\"stage\", ...]`")),
                    );
                    None
                }
            });
            InputTemplate { role: role.clone(), span: node.span, stages: stages.collect() }
        };
        roles.iter().map(input).collect()
    }
}

/// Remembers which values of a template were checked.
struct Checked {
    axes: Vec<usize>,
    seen: HashSet<Vec<usize>>,
}

impl Checked {
    fn new(template: &Template, axes: usize) -> Self {
        let mut used = vec![false; axes];
        template.mark_axes(&mut used);
        Self { axes: (0..axes).filter(|&axis| used[axis]).collect(), seen: HashSet::new() }
    }

    fn is_new(&mut self, combination: &[usize]) -> bool {
        self.seen.insert(self.axes.iter().map(|&axis| combination[axis]).collect())
    }
}

struct InputTemplate {
    role: String,
    span: Span,
    stages: Vec<RefTemplate>,
}

impl InputTemplate {
    fn fill(&self, combination: &[usize], links: &mut Links, sink: &mut Sink) -> Option<InputSpec> {
        let mut stages = Vec::with_capacity(self.stages.len());
        self.stages.iter().for_each(|stage| stages.extend(stage.fill(combination, links, sink)));
        let complete = stages.len() == self.stages.len();
        complete.then(|| InputSpec { role: self.role.clone(), span: self.span, stages })
    }
}

/// `stage` or `stage[axis=value,...]`, each part with holes.
struct RefTemplate {
    stage: Template,
    constraints: Vec<(String, Template)>,
    span: Span,
    /// The reference itself, where no part has a hole and all is well with it.
    fixed: Option<StageRef>,
}

impl RefTemplate {
    fn compile(text: &str, span: Span, scope: &Scope, sink: &mut Sink) -> Option<Self> {
        let bad = |sink: &mut Sink| {
            sink.push(
                Diagnostic::new(format!("`{text}` is no reference to a stage"))
                    .at(span)
                    .help("write `stage` or `stage[axis=value,axis=value]`"),
            );
        };
        let (stage, list) = match text.split_once('[') {
            Some((stage, rest)) => match rest.trim_end().strip_suffix(']') {
                Some(list) => (stage.trim(), list),
                None => {
                    bad(sink);
                    return None;
                }
            },
            None => (text.trim(), ""),
        };
        let mut constraints = Vec::new();
        for part in list.split(',').filter(|part| !(list.trim().is_empty() && part.trim().is_empty())) {
            let Some((axis, value)) = part.split_once('=') else {
                bad(sink);
                return None;
            };
            constraints.push((axis.trim().to_owned(), Template::compile_text(value.trim(), span, scope, sink)));
        }
        Some(Self { stage: Template::compile_text(stage, span, scope, sink), constraints, span, fixed: None })
    }

    fn fill(&self, combination: &[usize], links: &mut Links, sink: &mut Sink) -> Option<StageRef> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let stage = self.stage.fill_text(combination, "the name of a stage", sink)?;
        let mut constraints = Vec::with_capacity(self.constraints.len());
        for (axis, value) in &self.constraints {
            constraints.push((axis.clone(), value.fill_text(combination, "the value of an axis", sink)?));
        }
        let stage = StageRef { stage, constraints, span: self.span };
        links.check(&stage, sink).then_some(stage)
    }
}

/// Checks references to other stages and remembers them as edges.
struct Links<'a> {
    expander: &'a Expander<'a>,
    from: usize,
    seen: HashSet<usize>,
    edges: &'a mut Vec<Edge>,
}

impl Links<'_> {
    /// Checks what a reference says without any axis value: once for all actions, and also where there are none.
    fn check_fixed(&mut self, template: &mut RefTemplate, sink: &mut Sink) {
        let text = |template: &Template| match template {
            Template::Fixed(node) => node.scalar_text(),
            _ => None,
        };
        let Some(stage) = text(&template.stage) else { return };
        let fixed = |(axis, value): &(String, Template)| Some((axis.clone(), text(value)?));
        let constraints: Vec<_> = template.constraints.iter().filter_map(fixed).collect();
        let whole = constraints.len() == template.constraints.len();
        let reference = StageRef { stage, constraints, span: template.span };
        if self.check(&reference, sink) && whole {
            template.fixed = Some(reference);
        }
    }

    fn check(&mut self, reference: &StageRef, sink: &mut Sink) -> bool {
        let name = reference.stage.as_str();
        let Some((to, _, stage)) = self.expander.stages.get_full(name) else {
            if sink.is_full() {
                return false;
            }
            let known: Vec<_> = self.expander.stages.keys().copied().collect();
            sink.push(
                Diagnostic::new(format!("there is no stage `{name}`"))
                    .at(reference.span)
                    .help(help_for(name, &known, "stages")),
            );
            return false;
        };
        if self.seen.insert(to) {
            self.edges.push(Edge { from: self.from, to, span: reference.span });
        }
        let mut good = true;
        for (name, value) in &reference.constraints {
            let Some(axis) = stage.axes.iter().find(|axis| axis.name == *name) else {
                sink.push(
                    Diagnostic::new(format!("the stage `{}` has no axis `{name}`", stage.name))
                        .at(reference.span)
                        .help(help_for(name, &stage.axis_names(), "axes")),
                );
                good = false;
                continue;
            };
            // An axis without values has been reported already.
            if !axis.values.is_empty() && !axis.values.iter().any(|v| v.text == *value) {
                let known: Vec<_> = axis.values.iter().map(|v| v.text.as_str()).collect();
                sink.push(
                    Diagnostic::new(format!("the stage `{}` has no action for {name} `{value}`", stage.name))
                        .at(reference.span)
                        .help(help_for(value, &known, &format!("values of `{name}`"))),
                );
                good = false;
            }
        }
        good
    }
}
