//! One file a kind, one line each in the registry.

mod dataset_table;
mod definitions;
mod device;
mod download;
mod evaluate;
mod exec;
mod footprint;
mod local;
mod memory_plan;
mod prepare;
mod report;
#[cfg(test)]
mod tests;
mod threads;
mod tokenize;
mod train;
mod work;

use crate::{
    config::{Entry, Vocabulary},
    data,
    engine::{Registry, vocabulary_entry},
    models::ModelSpec,
    train::Method,
};

pub use download::{SourceEntry, to_fetch, used_sources};
pub use evaluate::{Evaluate, METRICS_FILE};
pub use local::{changed, locate, pin};
pub use train::Train;

/// Every stage kind.
pub static REGISTRY: Registry = &[
    &download::Download,
    &prepare::Prepare,
    &dataset_table::DatasetTable,
    &tokenize::Tokenize,
    &Train,
    &Evaluate,
    &report::ReportKind,
    &memory_plan::MemoryPlan,
    &exec::Exec,
];

/// What pipeline files may contain.
pub fn vocabulary() -> Vocabulary {
    let mut tables = Vec::from(data::definitions());
    tables.push(Entry { check: Box::new(definitions::check_model), ..Entry::of::<ModelSpec>("model") });
    tables.push(Entry::of::<Method>("method"));
    Vocabulary { definitions: tables, stage_kinds: REGISTRY.iter().map(|kind| vocabulary_entry(*kind)).collect() }
}
