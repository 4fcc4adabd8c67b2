//! `download`: the files of a definition's `source` table, each proved by its pin.

mod download_resolve;
mod download_run;
mod download_stage;
mod download_table;
mod local_sources;
mod source_entry;
mod source_tables;
#[cfg(test)]
mod tests;

pub use download_stage::{Download, to_fetch};
pub use local_sources::{changed, locate, pin};
pub use source_entry::SourceEntry;
pub use source_tables::used_sources;
