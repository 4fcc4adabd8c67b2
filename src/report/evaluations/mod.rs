//! The report of evaluations: data first, then statistics, then text.

mod basis;
mod build;
mod build_figures;
mod cells;
mod contrasts;
mod details;
mod document;
mod evidence;
mod figure_document;
mod figure_layout;
mod figure_plots;
mod grid;
mod groups;
mod layout;
mod pages;
mod placing;
mod plots;
mod published;
mod result_csv;
mod sentences;
mod table;
#[cfg(test)]
mod tests;

pub use document::Report;
pub use evidence::{DatasetFacts, Evidence, Predictions, Run, SplitFacts};
pub use figure_layout::{Axes, AxisLayout, FigureLayout, Form, SEED, Selection};
pub use layout::{Choice, Layout, Publication, PublishedRow, SplitSizes, TableLayout, TaskColumns};
pub use placing::{Clash, place};
