//! The report of evaluations: data first, then statistics, then sentences.

mod basis;
mod build;
mod contrasts;
mod details;
mod document;
mod grid;
mod groups;
mod table;

pub use document::{Cell, Contrast, Report, Table, Task, Verdict, seed_text};
