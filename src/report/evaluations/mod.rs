//! The report of evaluations: data first, then statistics, then text.

mod basis;
mod build;
mod contrasts;
mod details;
mod document;
mod evidence;
mod grid;
mod groups;
mod layout;
mod pages;
mod plots;
mod published;
mod result_csv;
mod sentences;
mod table;
#[cfg(test)]
mod tests;

pub use document::Report;
pub use evidence::{DatasetFacts, Evidence, Predictions, Run, SplitFacts};
pub use layout::{Choice, Layout, Publication, PublishedRow, SplitSizes, TableLayout, TaskColumns};
