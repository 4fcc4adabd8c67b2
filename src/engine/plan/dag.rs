//! The actions of a pipeline and what reads what.

use std::collections::BTreeMap;

use super::{
    action::Action,
    export_claims::collisions,
    links::link,
    resolution::{distinct, resolve_all},
    topology::{closure, readers, sorted},
};
use crate::{
    config::{ActionSpec, Diagnostic, Spec},
    engine::Registry,
};

/// The actions of a pipeline that its goals need, in an order that respects every edge.
pub struct Plan {
    pub spec: Spec,
    /// Topologically sorted: an action's inputs come before it.
    pub actions: Vec<Action>,
    /// By action, those that read it.
    readers: Vec<Vec<usize>>,
}

impl Plan {
    /// Resolves and links every action of the specification.
    ///
    /// # Errors
    /// All problems together.
    pub fn new(spec: Spec, registry: Registry) -> Result<Self, Vec<Diagnostic>> {
        let (resolved, diagnostics) = resolve_all(&spec, registry);
        if !diagnostics.is_empty() {
            return Err(distinct(diagnostics));
        }
        let (specs, mut actions): (Vec<&ActionSpec>, Vec<Action>) = resolved.into_iter().unzip();
        let diagnostics = link(&mut actions, &specs);
        if !diagnostics.is_empty() {
            return Err(distinct(diagnostics));
        }
        let goals = &spec.pipeline.goals;
        let is_goal = |i: &usize| goals.is_empty() || goals.contains(&actions[*i].stage);
        let keep = closure(&actions, (0..actions.len()).filter(is_goal).collect());
        let collisions = collisions(&spec, (0..actions.len()).filter(|i| keep.contains(i)).map(|i| &actions[i]));
        if !collisions.is_empty() {
            return Err(collisions);
        }
        let actions = sorted(actions, &keep)
            .ok_or_else(|| vec![Diagnostic::new("the stages depend on each other in a circle".to_owned())])?;
        let readers = readers(&actions);
        Ok(Self { spec, actions, readers })
    }

    /// What the stages' kinds have to say against a specification that may be incomplete. Nothing is linked: an action that isn't
    /// there has been told of already.
    pub fn diagnostics(spec: &Spec, registry: Registry) -> Vec<Diagnostic> {
        distinct(resolve_all(spec, registry).1)
    }

    /// Actions that `i` reads; one that fills several roles comes several times.
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
        self.readers[i].iter().copied()
    }

    /// The name under which the store remembers an action: action names are only unique within a pipeline and profile.
    pub fn identity(&self, i: usize) -> String {
        Self::identity_of(&self.spec.pipeline.name, self.spec.profile.as_deref(), &self.actions[i].name)
    }

    /// What the names of all actions of this pipeline and profile begin with.
    pub fn owner(&self) -> String {
        Self::identity_of(&self.spec.pipeline.name, self.spec.profile.as_deref(), "")
    }

    pub(in crate::engine) fn identity_of(pipeline: &str, profile: Option<&str>, action: &str) -> String {
        format!("{pipeline}:{}:{action}", profile.unwrap_or(""))
    }
}
