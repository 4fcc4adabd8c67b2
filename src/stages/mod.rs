//! The stage kinds: one file or folder each, and one line each in the registry.

mod answer_words;
mod dataset_table;
mod device;
mod download;
mod evaluate;
mod exec;
mod lookup;
mod measured_memory;
mod memory_plan;
mod model_errors;
mod prepare;
mod report;
mod stage_registry;
mod tables;
#[cfg(test)]
mod tests;
mod thread_pool;
mod tokenize;
mod tokens_input;
mod train;

pub use download::{SourceEntry, changed, locate, pin, to_fetch, used_sources};
pub use evaluate::METRICS_FILE;
pub use stage_registry::{REGISTRY, vocabulary};
