//! `dataset-table`: what was prepared, dataset by dataset, beside what a publication says of it.

mod dataset_table_resolve;
mod dataset_table_stage;

pub use dataset_table_stage::DatasetTable;
