//! One file a kind, one line each in the registry.

mod download;
mod exec;

use crate::{
    config::{self, Entry},
    engine::Registry,
};

/// Every stage kind.
pub static REGISTRY: Registry = &[&download::Download, &exec::Exec];

/// What pipeline files may contain.
pub fn vocabulary() -> config::Vocabulary {
    config::Vocabulary { definitions: Vec::new(), stage_kinds: Vec::new() }
}
