//! TOML to a typed, fully expanded specification, with a source span on every value.
//!
//! This layer knows the shape of a pipeline file (includes, profiles, axes, matrices, interpolation) and nothing of what
//! a stage kind or a definition means: those bring their own serde types through [`Vocabulary`]. It reads files and
//! runs nothing. [`load()`] is the way in; `docs/pipeline-files.md` is the reference for users. In order:
//!
//! 1. `source_files`, `parse`: a file and its includes become one table. Later files win over earlier ones and the including
//!    file over its includes, but a definition or a stage is written in one file only; `trust` says what may come from where.
//! 2. `merged_file`, `pipeline`, `merge`, `value_overrides`: the chosen profile is laid over it (what it inherits, its files, its own tables), then
//!    `--set`. Tables are merged key by key, all else is replaced.
//! 3. `matrix`: axes get their values, stages their combinations.
//! 4. `interpolation`, `expansion`: strings are compiled once for each stage and filled for each combination; the vocabulary's
//!    checks see every distinct result once.
//! 5. `stage_links`, `stage_graph`: circles, and references that no action answers.
//!
//! Nothing stops at the first problem: every part hands on what it could make sense of and adds to the same list of
//! [`Diagnostic`]s. Only after a syntax error the later parts are left out, since what isn't there can't be told from
//! what couldn't be read.

mod definitions;
mod diagnostic;
mod diagnostic_report;
mod diagnostic_sink;
mod edit;
mod expansion;
mod from_node;
mod interpolation;
mod kind_vocabulary;
mod load;
mod load_options;
mod matrix;
mod merge;
mod merged_file;
mod name_rules;
mod node;
mod node_reader;
mod parse;
mod pipeline;
mod read_error;
mod remote_config;
mod remote_table;
mod schema;
mod schema_check;
mod schema_copies;
mod size;
mod source_files;
mod source_map;
mod spanned;
mod specification;
mod stage;
mod stage_graph;
mod stage_keys;
mod stage_links;
mod stage_ref;
mod suggest;
mod template_pieces;
mod template_scope;
#[cfg(test)]
mod tests;
mod top_level;
mod trust;
mod user_config;
mod value_overrides;
mod written_credentials;

pub use diagnostic::Diagnostic;
pub use diagnostic_report::{render, render_with};
pub use edit::with_string;
pub use from_node::{check, from_node};
pub use kind_vocabulary::{Check, Describe, Entry, Vocabulary};
pub use load::{Loaded, load};
pub use load_options::LoadOptions;
pub use node::{Key, Node, Span, Table, Value, to_json};
pub use pipeline::PROFILE_KEYS;
pub use remote_config::{Bucket, RemoteConfig, RemotePlace, Service};
pub use schema::{json_schema, unknown_to_schema};
pub use size::{Size, parse_size};
pub use source_map::SourceMap;
pub use spanned::Spanned;
pub use specification::{ActionSpec, InputSpec, Pipeline, Spec, StageRef, StageSpec};
pub use stage_keys::{COMMON_KEYS, ResourceRequest};
pub use suggest::suggest;
pub use user_config::{UserConfig, user_config, user_config_path};
