//! Documents as Markdown, CSV, HTML and SVG. Pure: what was found and a layout in, bytes out.
//!
//! A folder each for the evaluations, the datasets and the memory, and in each the same three steps: data (what was found, and
//! what is to be shown), statistics (every figure, comparison and note is decided once), text (templates show them). Nothing
//! here reads a file, a clock or an environment, and the order in which evidence arrives changes nothing.

mod csv;
mod datasets;
mod evaluations;
mod format;
mod markdown_table;
mod memory;
mod named;
mod scale;
mod template;
mod text;

pub use datasets::{DatasetEntry, DatasetLayout, Published, dataset_table};
pub use evaluations::{
    Axes, AxisLayout, Choice, Clash, DatasetFacts, Evidence, FigureLayout, Form, Layout, Predictions, Publication,
    PublishedRow, Report, Run, SEED, Selection, SplitFacts, SplitSizes, TableLayout, TaskColumns, place,
};
pub use memory::{MemoryLayout, MemoryRow, memory_table};
pub use named::Named;
