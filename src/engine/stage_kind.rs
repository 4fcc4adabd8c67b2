//! What the engine asks of a stage kind.

use serde::{Deserialize, Serialize};

use super::{action_context::Context, resolved::Resolved};
use crate::{
    base::error::Result,
    config::{ActionSpec, Diagnostic, Entry, Node, Spec},
};

/// All stage kinds of the program.
pub type Registry = &'static [&'static dyn StageKind];

/// A kind of stage as the engine sees it. Kinds implement [`super::TypedStage`], and have this by it.
pub trait StageKind: Sync {
    /// What pipeline files call it.
    fn name(&self) -> &'static str;

    /// Part of every action key: raise it when the same parameters and inputs give other bytes than before.
    fn version(&self) -> u32;

    /// Unknown keys and wrong types in the stage's own table.
    fn check(&self, params: &Node) -> Vec<Diagnostic>;

    /// JSON Schema of the stage's own table.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// The full description of one action: parameters with every default and every definition filled in.
    ///
    /// # Errors
    /// All that is wrong with the stage.
    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>>;

    fn isolation(&self) -> Isolation {
        Isolation::Worker
    }

    /// Name of a JSON file in the artifact whose numbers say how good the result is, for comparisons of runs.
    fn metrics(&self) -> Option<&'static str> {
        None
    }

    /// Names of the files that an action with these parameters writes; none where that can't be told before it has run. Exported
    /// files must each have a place of their own.
    fn outputs(&self, _params: &serde_json::Value) -> Option<Vec<String>> {
        None
    }

    /// Whether the result shows [`super::Job::notes`]; they then enter the key.
    fn shows_notes(&self) -> bool {
        false
    }

    /// Whether a stage of this kind runs commands that its table names: such tables are taken from trusted files only.
    fn executes(&self) -> bool {
        false
    }

    /// Does the work. Writes its files under `cx.out`; everything else is read from `cx.job`.
    ///
    /// # Errors
    /// Whatever keeps the work from being done.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// What the configuration layer needs to know of a kind.
pub fn vocabulary_entry(kind: &'static dyn StageKind) -> Entry {
    Entry {
        name: kind.name(),
        check: Box::new(|node| kind.check(node)),
        schema: Box::new(|generator| kind.schema(generator)),
        executes: kind.executes(),
    }
}

/// Where an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// In the scheduler's process: for quick, pure work.
    InProcess,
    /// In a process of its own, so that an out-of-memory kill fails one action and not the run.
    Worker,
}

/// What a kind sees when it resolves an action.
pub struct ResolveContext<'a> {
    pub spec: &'a Spec,
    pub action: &'a ActionSpec,
}
