//! The table of datasets: what was prepared, beside what a publication says of the same corpora.

mod dataset_figures;
mod dataset_layout;
mod dataset_text;

pub use dataset_layout::{DatasetEntry, DatasetLayout, Published};
pub use dataset_text::dataset_table;
