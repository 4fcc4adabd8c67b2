//! From a specification to a DAG of actions, and from a DAG and a store to a forecast.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};
use rayon::prelude::*;
use serde::Deserialize;

use super::{
    Artifact, Footprint, Registry, ResolveContext, Resolved, StageKind, exports,
    key::{Parts, Preimage},
    reasons::{Reason, differences, differences_but_inputs},
};
use crate::base::machine::Resources;
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    config::{self, ActionSpec, Diagnostic, InputSpec, Node, Spec, StageRef, StageSpec},
    store::{ActionResult, Store},
};

/// Fewer actions aren't worth a second thread.
pub(super) const PARALLEL_FROM: usize = 500;

/// Inputs of all actions together; more are a gathering that nobody meant.
const MOST_LINKS: usize = 4_000_000;

/// One node of the DAG.
pub struct Action {
    /// `train[task=sst5,method=lora,seed=0]`
    pub name: String,
    pub stage: String,
    pub axes: Vec<(String, String)>,
    pub kind: &'static dyn StageKind,
    pub resolved: Resolved,
    /// Role, and the actions that fill it, in the order of their names.
    pub inputs: BTreeMap<String, Vec<usize>>,
    pub export: Option<String>,
    /// Whether the pipeline file says how much memory the action occupies.
    pub memory_is_set: bool,
}

/// The actions of a pipeline that its goals need, in an order that respects every edge.
pub struct Plan {
    pub spec: Spec,
    /// Topologically sorted: an action's inputs come before it.
    pub actions: Vec<Action>,
    /// Node weights are indices into `actions`.
    pub graph: DiGraph<usize, ()>,
}

/// Which part of a plan to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these stages (or actions); what they need must be in the store.
    pub only: Vec<String>,
    /// These stages (or actions) and what they need.
    pub until: Vec<String>,
    /// Run these even if their result is known.
    pub force: Vec<String>,
}

/// What would happen to an action if the pipeline ran now.
#[derive(Debug, Clone)]
pub enum Forecast {
    Cached {
        key: Digest,
        outcome: ActionResult,
        notes: Notes,
    },
    /// `preimage` where all inputs are known.
    Run {
        reasons: Vec<Reason>,
        preimage: Option<Preimage>,
    },
}

/// A result, as those who read it see it.
#[derive(Debug, Clone)]
pub struct Finished {
    pub artifact: Digest,
    pub notes: Notes,
}

/// What was vouched for on the way to a result; almost always nothing, so it is shared.
pub type Notes = Option<Arc<BTreeSet<String>>>;

/// Artifacts of an action's inputs.
type ByRole = BTreeMap<String, Vec<Digest>>;

impl Forecast {
    fn finished(&self) -> Option<Finished> {
        match self {
            Self::Cached { outcome, notes, .. } => Some(Finished { artifact: outcome.artifact, notes: notes.clone() }),
            Self::Run { .. } => None,
        }
    }
}

impl Plan {
    /// Resolves and links every action of the specification. All problems are reported together.
    pub fn new(spec: Spec, registry: Registry) -> Result<Self, Vec<Diagnostic>> {
        let (resolved, mut problems) = resolve_all(&spec, registry);
        let mut actions = Vec::with_capacity(resolved.len());
        let mut specs = Vec::with_capacity(resolved.len());
        let mut by_stage: HashMap<&str, Vec<usize>> = HashMap::new();
        for (stage, action, resolved) in resolved {
            by_stage.entry(&stage.name).or_default().push(actions.len());
            specs.push(action);
            actions.push(resolved);
        }
        if problems.is_empty() {
            let mut links = Links { by_stage, tables: HashMap::new() };
            let mut count = 0;
            for i in 0..actions.len() {
                for input in &specs[i].inputs {
                    match links.resolve(input, &actions[i].axes, &actions) {
                        Ok(found) => {
                            count += found.len();
                            actions[i].inputs.entry(input.role.clone()).or_default().extend(found);
                        }
                        Err(problem) => problems.push(problem),
                    }
                    if count > MOST_LINKS {
                        return Err(vec![too_many_links(&actions[i].stage, input)]);
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(distinct(problems));
        }
        let goals = spec.pipeline.goals.clone();
        let wanted: Vec<usize> =
            (0..actions.len()).filter(|i| goals.is_empty() || goals.contains(&actions[*i].stage)).collect();
        let keep = closure(&actions, wanted);
        let collisions =
            exports::collisions(&spec, actions.iter().enumerate().filter(|(i, _)| keep.contains(i)).map(|(_, a)| a));
        if !collisions.is_empty() {
            return Err(collisions);
        }
        Self::sorted(spec, actions, &keep)
    }

    /// What the stages' kinds have to say against a specification that may be incomplete. Nothing is linked: an action that isn't
    /// there has been told of already.
    pub fn problems(spec: &Spec, registry: Registry) -> Vec<Diagnostic> {
        distinct(resolve_all(spec, registry).1)
    }

    fn sorted(spec: Spec, actions: Vec<Action>, keep: &HashSet<usize>) -> Result<Self, Vec<Diagnostic>> {
        let mut graph = DiGraph::new();
        let nodes: HashMap<usize, NodeIndex> =
            (0..actions.len()).filter(|i| keep.contains(i)).map(|i| (i, graph.add_node(i))).collect();
        for (&i, &node) in &nodes {
            for input in actions[i].inputs.values().flatten().collect::<BTreeSet<_>>() {
                graph.add_edge(nodes[input], node, ());
            }
        }
        let order = stable_order(&graph)
            .ok_or_else(|| vec![Diagnostic::new("the stages depend on each other in a circle".to_owned())])?;
        let rank: HashMap<usize, usize> = order.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let mut slots: Vec<Option<Action>> = actions.into_iter().map(Some).collect();
        let mut sorted = Vec::with_capacity(order.len());
        for old in &order {
            let Some(mut action) = slots[*old].take() else { continue };
            for input in action.inputs.values_mut().flatten() {
                *input = rank[input];
            }
            sorted.push(action);
        }
        let mut graph = DiGraph::new();
        let nodes: Vec<NodeIndex> = (0..sorted.len()).map(|i| graph.add_node(i)).collect();
        for (i, action) in sorted.iter().enumerate() {
            for input in action.inputs.values().flatten().collect::<BTreeSet<_>>() {
                graph.add_edge(nodes[*input], nodes[i], ());
            }
        }
        Ok(Self { spec, actions: sorted, graph })
    }

    /// Actions that `i` reads.
    pub fn inputs(&self, i: usize) -> impl Iterator<Item = usize> {
        self.actions[i].inputs.values().flatten().copied()
    }

    /// Names of the actions that `i` reads, by role.
    pub fn makers(&self, i: usize) -> BTreeMap<String, Vec<String>> {
        let names = |sources: &Vec<usize>| sources.iter().map(|s| self.actions[*s].name.clone()).collect();
        self.actions[i].inputs.iter().map(|(role, sources)| (role.clone(), names(sources))).collect()
    }

    /// Actions that read `i`.
    pub fn readers(&self, i: usize) -> impl Iterator<Item = usize> + '_ {
        self.graph.edges_directed(NodeIndex::new(i), Direction::Outgoing).map(|e| self.graph[e.target()])
    }

    /// The actions that a name stands for: a stage, an action, or a stage with some of its axes.
    pub fn matching(&self, name: &str) -> Result<Vec<usize>> {
        let (stage, constraints) = parse_target(name);
        let found: Vec<usize> = (0..self.actions.len())
            .filter(|i| {
                let a = &self.actions[*i];
                a.stage == stage && constraints.iter().all(|(k, v)| a.axes.iter().any(|(ak, av)| ak == k && av == v))
            })
            .collect();
        if found.is_empty() {
            let mut stages: Vec<&str> = self.actions.iter().map(|a| a.stage.as_str()).collect();
            stages.dedup();
            let e = Error::input(format!("no stage or action is called `{name}`"));
            return Err(match config::suggest(stage, stages.iter().copied()) {
                Some(near) if near != stage => e.help(format!("did you mean `{near}`?")),
                _ => e.help(format!("stages: {}", stages.join(", "))),
            });
        }
        Ok(found)
    }

    /// Indices of the selected actions, and of those whose result is to be made again.
    pub fn select(&self, selection: &Selection) -> Result<(HashSet<usize>, HashSet<usize>)> {
        let resolve = |names: &[String]| -> Result<Vec<usize>> {
            let mut out = Vec::new();
            for name in names {
                out.extend(self.matching(name)?);
            }
            Ok(out)
        };
        let mut selected: HashSet<usize> = if !selection.until.is_empty() {
            closure(&self.actions, resolve(&selection.until)?)
        } else {
            (0..self.actions.len()).collect()
        };
        if !selection.only.is_empty() {
            selected = resolve(&selection.only)?.into_iter().collect();
        }
        Ok((selected, resolve(&selection.force)?.into_iter().collect()))
    }

    /// What has to be there before the selected actions can run, and isn't.
    pub fn missing(&self, selected: &HashSet<usize>, forced: &HashSet<usize>, store: &Store) -> Vec<Diagnostic> {
        let lacking = |i: &usize| selected.contains(i) && !self.actions[*i].resolved.missing.is_empty();
        let lacking: Vec<usize> = (0..self.actions.len()).filter(lacking).collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let forecasts = self.forecast(store, forced);
        let to_run = lacking.into_iter().filter(|i| matches!(forecasts[*i], Forecast::Run { .. }));
        let mut seen = HashSet::new();
        to_run
            .flat_map(|i| &self.actions[i].resolved.missing)
            .filter(|found| seen.insert((&found.message, found.span)))
            .cloned()
            .collect()
    }

    /// The description of an action whose inputs have these results; none where it isn't complete yet.
    pub fn preimage(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<Preimage> {
        let (inputs, notes) = self.inputs_of(i, finished)?;
        Some(Preimage { inputs, notes, ..self.description(i) })
    }

    /// The key of that description, without making it.
    pub fn key(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<Digest> {
        let (inputs, notes) = self.inputs_of(i, finished)?;
        let action = &self.actions[i];
        let parts = Parts {
            inputs: &inputs,
            kind: action.kind.name(),
            notes: &notes,
            numerics: action.resolved.numerics.as_deref(),
            params: &action.resolved.params,
            version: action.kind.version(),
        };
        Some(parts.key())
    }

    /// Artifacts by role, and what was vouched for behind them if the kind shows it. None where an input isn't known.
    fn inputs_of(&self, i: usize, finished: impl Fn(usize) -> Option<Finished>) -> Option<(ByRole, Vec<String>)> {
        let action = &self.actions[i];
        if action.resolved.keyless {
            return None;
        }
        let mut inputs = ByRole::new();
        let mut notes = BTreeSet::new();
        for (role, sources) in &action.inputs {
            let mut digests = Vec::with_capacity(sources.len());
            for source in sources {
                let source = finished(*source)?;
                digests.push(source.artifact);
                if action.kind.shows_notes() {
                    notes.extend(source.notes.iter().flat_map(|n| n.iter().cloned()));
                }
            }
            inputs.insert(role.clone(), digests);
        }
        Some((inputs, notes.into_iter().collect()))
    }

    /// What is known of an action's description before its inputs are.
    fn description(&self, i: usize) -> Preimage {
        let action = &self.actions[i];
        Preimage {
            kind: action.kind.name().to_owned(),
            version: action.kind.version(),
            params: action.resolved.params.clone(),
            inputs: BTreeMap::new(),
            numerics: action.resolved.numerics.clone(),
            notes: Vec::new(),
        }
    }

    /// What readers of an action must pass on: what was vouched for before it, and for itself.
    pub fn notes(&self, i: usize, key: &Digest, store: &Store, finished: impl Fn(usize) -> Option<Finished>) -> Notes {
        let mut behind = self.inputs(i).filter_map(|s| finished(s)?.notes);
        let own = store.acceptance(key).map(|a| format!("{} was not computed anew: {}", self.actions[i].name, a.note));
        let first = behind.next();
        if own.is_none() && first.is_none() {
            return None;
        }
        let all = first.into_iter().chain(behind).flat_map(|n| n.iter().cloned().collect::<Vec<_>>()).chain(own);
        Some(Arc::new(all.collect()))
    }

    /// What a run would do with each action, in the order of `actions`.
    pub fn forecast(&self, store: &Store, forced: &HashSet<usize>) -> Vec<Forecast> {
        let mut forecasts: Vec<Forecast> = Vec::with_capacity(self.actions.len());
        for i in 0..self.actions.len() {
            let finished = |s: usize| forecasts[s].finished();
            let key = self.key(i, finished);
            let found = key.and_then(|key| Some((key, store.lookup(&key)?)));
            let forecast = match (found, key) {
                (Some((key, outcome)), _) if !forced.contains(&i) => {
                    let notes = self.notes(i, &key, store, finished);
                    Forecast::Cached { key, outcome, notes }
                }
                (found, Some(_)) => {
                    let preimage = self.preimage(i, finished);
                    let reasons = match &preimage {
                        Some(preimage) if found.is_none() => self.reasons(i, preimage, store),
                        _ => vec![Reason::Forced],
                    };
                    Forecast::Run { reasons, preimage }
                }
                (_, None) => Forecast::Run { reasons: self.pending_reasons(i, store, finished), preimage: None },
            };
            forecasts.push(forecast);
        }
        forecasts
    }

    /// The artifacts of an action's inputs that are in the store, by role.
    pub fn known_inputs(&self, i: usize, forecasts: &[Forecast], store: &Store) -> BTreeMap<String, Vec<Artifact>> {
        let known = |s: &usize| match &forecasts[*s] {
            Forecast::Cached { outcome, .. } => {
                Some(Artifact { digest: outcome.artifact, files: store.paths(outcome) })
            }
            Forecast::Run { .. } => None,
        };
        let of_role = |sources: &Vec<usize>| sources.iter().filter_map(known).collect();
        self.actions[i].inputs.iter().map(|(role, sources)| (role.clone(), of_role(sources))).collect()
    }

    /// What the actions that would run will hold in memory, where that can be told.
    pub fn footprints(&self, forecasts: &[Forecast], store: &Store) -> Vec<Option<Footprint>> {
        let footprint = |(i, forecast): (usize, &Forecast)| {
            let estimate = self.actions[i].resolved.memory.as_ref()?;
            match forecast {
                Forecast::Cached { .. } => None,
                // What can't be read now is reported by the action that reads it.
                Forecast::Run { .. } => estimate.footprint(&self.known_inputs(i, forecasts, store)).ok(),
            }
        };
        forecasts.iter().enumerate().map(footprint).collect()
    }

    /// Seconds that the actions that would run take by the amount of their work, where that can be told.
    pub fn modelled(&self, forecasts: &[Forecast], store: &Store) -> Vec<Option<f64>> {
        let seconds = |(i, forecast): (usize, &Forecast)| {
            let Resolved { work, resources, .. } = &self.actions[i].resolved;
            match forecast {
                Forecast::Cached { .. } => None,
                Forecast::Run { .. } => {
                    work.as_ref()?.seconds(&self.known_inputs(i, forecasts, store), resources.cores).ok()
                }
            }
        };
        forecasts.iter().enumerate().map(seconds).collect()
    }

    /// Lets actions on this machine's processors occupy what their footprints say, unless the file says otherwise.
    pub fn occupy(&mut self, footprints: &[Option<Footprint>]) {
        for (action, footprint) in self.actions.iter_mut().zip(footprints) {
            if let Some(footprint) = footprint
                && footprint.device.is_cpu()
                && !action.memory_is_set
            {
                action.resolved.resources.memory = footprint.total();
            }
        }
    }

    /// Why an action whose key has no result runs.
    pub fn reasons(&self, i: usize, preimage: &Preimage, store: &Store) -> Vec<Reason> {
        let Some(old) = self.earlier(i, store) else { return vec![Reason::New] };
        let found = differences(&old, preimage);
        if found.is_empty() { vec![Reason::ResultMissing] } else { found }
    }

    fn pending_reasons(&self, i: usize, store: &Store, finished: impl Fn(usize) -> Option<Finished>) -> Vec<Reason> {
        let mut reasons = match self.earlier(i, store) {
            None => vec![Reason::New],
            Some(old) => differences_but_inputs(&old, &self.description(i)),
        };
        for (role, sources) in &self.actions[i].inputs {
            if let Some(first) = sources.iter().find(|s| finished(**s).is_none()) {
                reasons.push(Reason::InputPending { role: role.clone(), action: self.actions[*first].name.clone() });
            }
        }
        reasons
    }

    fn earlier(&self, i: usize, store: &Store) -> Option<Preimage> {
        let key = store.latest_key(&self.identity(i))?;
        Preimage::of_record(&store.preimage(&key)?)
    }

    /// The name under which the store remembers an action: action names are only unique within a pipeline and profile.
    pub fn identity(&self, i: usize) -> String {
        Self::identity_of(&self.spec.pipeline.name, self.spec.profile.as_deref(), &self.actions[i].name)
    }

    /// What the names of all actions of this pipeline and profile begin with.
    pub fn owner(&self) -> String {
        Self::identity_of(&self.spec.pipeline.name, self.spec.profile.as_deref(), "")
    }

    pub(super) fn identity_of(pipeline: &str, profile: Option<&str>, action: &str) -> String {
        format!("{pipeline}:{}:{action}", profile.unwrap_or(""))
    }
}

/// `stage[axis=value,...]` taken apart.
fn parse_target(name: &str) -> (&str, Vec<(&str, &str)>) {
    match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        Some((stage, axes)) => {
            (stage, axes.split(',').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect())
        }
        None => (name, Vec::new()),
    }
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

/// All actions of a specification, and what is wrong with the others.
fn resolve_all(spec: &Spec, registry: Registry) -> (Vec<(&StageSpec, &ActionSpec, Action)>, Vec<Diagnostic>) {
    let mut described = Vec::new();
    for stage in &spec.stages {
        let Some(kind) = registry.iter().find(|k| k.name() == stage.kind) else { continue };
        described.extend(stage.actions.iter().map(|action| (stage, action, *kind)));
    }
    let one =
        |(stage, action, kind): &(&StageSpec, &ActionSpec, &'static dyn StageKind)| resolve(spec, stage, action, *kind);
    let resolved: Vec<Result<Action, Vec<Diagnostic>>> = if described.len() < PARALLEL_FROM {
        described.iter().map(one).collect()
    } else {
        described.par_iter().map(one).collect()
    };
    let (mut actions, mut problems) = (Vec::with_capacity(described.len()), Vec::new());
    for ((stage, action, _), resolved) in described.into_iter().zip(resolved) {
        match resolved {
            Ok(resolved) => actions.push((stage, action, resolved)),
            Err(found) => problems.extend(found),
        }
    }
    (actions, problems)
}

fn distinct(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    problems.retain(|p| seen.insert((p.message.clone(), p.span)));
    problems
}

fn too_many_links(stage: &str, input: &InputSpec) -> Diagnostic {
    Diagnostic::new(format!("with `{}` of `{stage}`, actions name more than {MOST_LINKS} inputs", input.role))
        .at(input.span)
        .help("give both stages a common axis, so that each action gathers less")
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

type Axes = [(String, String)];

/// Finds the actions that an input means, without comparing every pair of actions.
struct Links<'a> {
    by_stage: HashMap<&'a str, Vec<usize>>,
    /// Per upstream stage and set of axes that must agree: axis values to actions.
    tables: HashMap<(String, Vec<String>), ByAxes>,
}

/// Actions by the values of some axes.
type ByAxes = HashMap<Vec<String>, Vec<usize>>;

impl Links<'_> {
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

/// The actions that `wanted` needs, and themselves.
fn closure(actions: &[Action], wanted: Vec<usize>) -> HashSet<usize> {
    let mut seen: HashSet<usize> = HashSet::new();
    let mut open = wanted;
    while let Some(i) = open.pop() {
        if seen.insert(i) {
            open.extend(actions[i].inputs.values().flatten());
        }
    }
    seen
}

/// Topological order that follows the order of the file wherever edges leave a choice.
fn stable_order(graph: &DiGraph<usize, ()>) -> Option<Vec<usize>> {
    let mut missing: HashMap<NodeIndex, usize> =
        graph.node_indices().map(|n| (n, graph.edges_directed(n, Direction::Incoming).count())).collect();
    let mut ready: std::collections::BTreeSet<(usize, NodeIndex)> =
        missing.iter().filter(|(_, m)| **m == 0).map(|(n, _)| (graph[*n], *n)).collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some((i, node)) = ready.pop_first() {
        order.push(i);
        for edge in graph.edges_directed(node, Direction::Outgoing) {
            let left = missing.get_mut(&edge.target())?;
            *left -= 1;
            if *left == 0 {
                ready.insert((graph[edge.target()], edge.target()));
            }
        }
    }
    (order.len() == graph.node_count()).then_some(order)
}
