//! Every stage kind, and what pipeline files may contain.

use super::tables::{Method, MethodTable, ModelTable, check_model};
use crate::{
    config::{Entry, Vocabulary},
    data,
    engine::{Registry, vocabulary_entry},
};

/// Every stage kind.
pub static REGISTRY: Registry = &[
    &super::download::Download,
    &super::prepare::Prepare,
    &super::dataset_table::DatasetTable,
    &super::tokenize::Tokenize,
    &super::train::Train,
    &super::evaluate::Evaluate,
    &super::report::ReportKind,
    &super::memory_plan::MemoryPlan,
    &super::exec::Exec,
];

/// What pipeline files may contain.
pub fn vocabulary() -> Vocabulary {
    let mut definitions = Vec::from(data::definitions());
    definitions.push(Entry { check: Box::new(check_model), ..Entry::of::<ModelTable>("model") });
    definitions.push(Entry {
        check: Box::new(|node| Method::read(node).err().unwrap_or_default()),
        ..Entry::of::<MethodTable>("method")
    });
    Vocabulary { definitions, stage_kinds: REGISTRY.iter().map(|kind| vocabulary_entry(*kind)).collect() }
}
