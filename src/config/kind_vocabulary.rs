//! What the layers above teach this one: which definition tables and stage kinds there are.

use super::{diagnostic::Diagnostic, from_node::check, node::Node};

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
