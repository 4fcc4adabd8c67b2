//! One file a kind, one line each in the registry.

mod download;
mod exec;
mod prepare;
mod report;
mod tokenize;

use crate::{
    config::{Entry, Vocabulary},
    data,
    engine::Registry,
    models::ModelSpec,
};

pub use download::{SourceEntry, unpinned};

/// Every stage kind.
pub static REGISTRY: Registry =
    &[&download::Download, &prepare::Prepare, &tokenize::Tokenize, &report::ReportKind, &exec::Exec];

/// What pipeline files may contain.
pub fn vocabulary() -> Vocabulary {
    let kinds = REGISTRY.iter().map(|kind| Entry {
        name: kind.name(),
        check: Box::new(|node| kind.check(node)),
        schema: Box::new(|generator| kind.schema(generator)),
    });
    let mut definitions = Vec::from(data::definitions());
    definitions.push(Entry::of::<ModelSpec>("model"));
    Vocabulary { definitions, stage_kinds: kinds.collect() }
}
