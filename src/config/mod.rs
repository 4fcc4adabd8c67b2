//! TOML to a typed, fully expanded specification, with a source span on every value.
//!
//! This layer knows the shape of a pipeline file (includes, profiles, axes, matrices, interpolation) and nothing of what
//! a stage kind or a definition means: those bring their own serde types through [`Vocabulary`]. It reads files and
//! runs nothing. [`load()`] is the way in; `docs/pipeline-files.md` is the reference for users. In order:
//!
//! 1. `files`, `parse`: a file and its includes become one table. Later files win over earlier ones and the including
//!    file over its includes, but a definition or a stage is written in one file only; `trust` says what may come from where.
//! 2. `pipeline`, `merge`: the chosen profile is laid over it (what it inherits, its files, its own tables), then
//!    `--set`. Tables are merged key by key, all else is replaced.
//! 3. `matrix`: axes get their values, stages their combinations.
//! 4. `template`, `stage`: strings are compiled once for each stage and filled for each combination; the vocabulary's
//!    checks see every distinct result once.
//! 5. `graph`: circles, and references that no action answers.
//!
//! Nothing stops at the first problem: every part hands on what it could make sense of and adds to the same list of
//! [`Diagnostic`]s. Only after a syntax error the later parts are left out, since what isn't there can't be told from
//! what couldn't be read.

mod de;
mod diagnostic;
mod edit;
mod interpolation;
mod load;
mod matrix;
mod merge;
mod node;
mod parse;
mod pipeline;
mod remote_table;
mod schema;
mod size;
mod source_files;
mod stage;
mod stage_graph;
mod suggest;
mod trust;

pub use de::{Spanned, check, from_node};
pub use diagnostic::{Diagnostic, SourceMap, render, render_with};
pub use edit::set_string;
pub use load::{Loaded, load};
pub use node::{Key, Node, Span, Table, Value, to_json};
pub use pipeline::PROFILE_KEYS;
pub use remote_table::{Bucket, RemoteConfig, RemotePlace, Service, UserConfig, user_config, user_config_path};
pub use schema::{json_schema, unknown_to_schema};
pub use size::{Size, parse_size};
pub use stage::{COMMON_KEYS, ResourceRequest};
pub use suggest::suggest;

use std::{path::PathBuf, sync::Arc};

use indexmap::IndexMap;

use crate::base::tracked_fs::TrackedFs;

/// What the layers above teach this one: which definition tables and stage kinds exist.
pub struct Vocabulary {
    pub definitions: Vec<Entry>,
    pub stage_kinds: Vec<Entry>,
}

/// One definition kind (`model`, `task`, ...) or one stage kind (`train`, ...).
pub struct Entry {
    pub name: &'static str,
    /// Checks a table of this kind on its own (unknown keys, wrong types); for stage kinds, without the common keys.
    pub check: Check,
    pub schema: Describe,
    /// Whether a stage of this kind runs commands that its table names.
    pub executes: bool,
}

pub type Check = Box<dyn Fn(&Node) -> Vec<Diagnostic>>;
pub type Describe = Box<dyn Fn(&mut schemars::SchemaGenerator) -> schemars::Schema>;

impl Entry {
    /// A table that is checked and described by its serde type alone.
    pub fn of<T: serde::de::DeserializeOwned + schemars::JsonSchema + 'static>(name: &'static str) -> Self {
        Self {
            name,
            check: Box::new(check::<T>),
            schema: Box::new(|generator| generator.subschema_for::<T>()),
            executes: false,
        }
    }
}

/// Options of the command line that shape the specification.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    pub profile: Option<String>,
    /// `--set a.b.c=value`; the value is read as TOML where it parses as such, else as a string.
    pub set: Vec<(String, String)>,
}

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

#[cfg(test)]
mod tests;
