//! Stages become actions: one for each combination of a stage's matrix.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::{
    definitions::Definitions,
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    from_node::check,
    interpolation::Template,
    kind_vocabulary::Entry,
    node::{Key, Node},
    source_map::SourceMap,
    specification::{ActionSpec, StageSpec},
    stage::Stage,
    stage_keys::{COMMON_KEYS, ResourceRequest},
    stage_links::{Edge, Links},
    stage_ref::{InputTemplate, RefTemplate},
    suggest::help_for,
    template_scope::Scope,
};

/// Everything that the actions of all stages are made from.
pub(super) struct Expander<'a> {
    pub stages: &'a IndexMap<&'a str, Stage<'a>>,
    pub kinds: &'a [Entry],
    pub params: Option<&'a Node>,
    pub definitions: &'a Definitions,
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

        let mut links = Links { stages: self.stages, from: index, seen: HashSet::new(), edges };
        for template in inputs.iter_mut().flat_map(|input| &mut input.stages) {
            template.fix(&mut links, sink);
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
        let input = |(role, (_, node)): (&String, &(Key, Node))| {
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
