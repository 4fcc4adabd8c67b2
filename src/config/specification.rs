//! A pipeline file with everything resolved: includes merged, profile applied, matrices expanded, strings interpolated.

use std::{path::PathBuf, sync::Arc};

use indexmap::IndexMap;

use super::{
    diagnostic::Diagnostic,
    node::{Node, Span},
    suggest::help_for,
};
use crate::base::tracked_fs::TrackedFs;

/// A pipeline file with everything resolved: includes merged, profile applied, matrices expanded, strings interpolated.
#[derive(Debug, Clone)]
pub struct Spec {
    pub pipeline: Pipeline,
    pub profile: Option<String>,
    /// `definitions["model"]["smollm2-135m"]`
    pub definitions: IndexMap<String, IndexMap<String, Node>>,
    pub stages: Vec<StageSpec>,
    /// What reading it depended on. Whatever else is made of it asks for files here, too.
    pub tracked_fs: Arc<TrackedFs>,
}

impl Spec {
    /// The definition `name` of a kind.
    ///
    /// # Errors
    /// If there is none; the diagnostic points at `span`, where the name was used, and suggests the nearest name.
    pub fn definition(&self, kind: &str, name: &str, span: Option<Span>) -> Result<&Node, Diagnostic> {
        let names = self.definitions.get(kind);
        names.and_then(|names| names.get(name)).ok_or_else(|| {
            let known: Vec<_> = names.into_iter().flat_map(|names| names.keys().map(String::as_str)).collect();
            Diagnostic::new(format!("there is no {kind} `{name}`")).at(span).help(help_for(
                name,
                &known,
                &format!("names of `{kind}`"),
            ))
        })
    }

    /// The stage called `name`.
    pub fn stage(&self, name: &str) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

#[derive(Debug, Clone)]
pub struct Pipeline {
    pub name: String,
    pub description: Option<String>,
    /// The folder that `export` paths and the default store are relative to.
    pub root: PathBuf,
    pub seeds: Vec<i64>,
    /// Stages whose actions are wanted; what they don't depend on isn't run. Empty: all stages.
    pub goals: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct StageSpec {
    pub name: String,
    pub kind: String,
    pub span: Span,
    /// Where it says where to export to.
    pub export_span: Option<Span>,
    pub actions: Vec<ActionSpec>,
}

/// One combination of a stage's matrix.
#[derive(Debug, Clone)]
pub struct ActionSpec {
    /// Axis and value, in the order of the matrix table.
    pub axes: Vec<(String, String)>,
    /// The stage's own keys, interpolated, without the common ones.
    pub params: Node,
    /// Role, and the stages (with axis constraints) that fill it.
    pub inputs: Vec<InputSpec>,
    pub resources: Option<Node>,
    /// Folder, relative to the root, in which the artifact's files are placed after a run.
    pub export: Option<String>,
}

#[derive(Debug, Clone)]
pub struct InputSpec {
    pub role: String,
    pub span: Span,
    pub stages: Vec<StageRef>,
}

/// `"prepare"` or `"prepare[task=sst5]"`. A constraint fixes an axis; of the others, those that both sides have must
/// agree, and the rest is gathered.
#[derive(Debug, Clone)]
pub struct StageRef {
    pub stage: String,
    pub constraints: Vec<(String, String)>,
    pub span: Span,
}
