//! One file a kind, one line each in the registry.

mod dataset_table;
mod device;
mod download;
mod evaluate;
mod exec;
mod local;
mod lookup;
mod memory_plan;
mod prepare;
mod report;
mod tables;
#[cfg(test)]
mod tests;
mod thread_pool;
mod tokenize;
mod train;

use crate::{
    config::{Entry, Vocabulary},
    data,
    engine::{Registry, vocabulary_entry},
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
    let mut definitions = Vec::from(data::definitions());
    definitions.push(Entry { check: Box::new(tables::check_model), ..Entry::of::<tables::ModelTable>("model") });
    definitions.push(Entry {
        check: Box::new(|node| tables::Method::read(node).err().unwrap_or_default()),
        ..Entry::of::<tables::MethodTable>("method")
    });
    Vocabulary { definitions, stage_kinds: REGISTRY.iter().map(|kind| vocabulary_entry(*kind)).collect() }
}
