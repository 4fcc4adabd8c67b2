//! Tables, statistics and plots as Markdown, CSV and HTML. Pure: evidence and a layout in, bytes out.
//!
//! [`Report::build`] decides every figure, comparison and note once; the renderers only show them. Nothing here reads a
//! file, a clock or an environment, and the order in which evidence arrives changes nothing.

mod csv;
mod datasets;
mod evaluations;
mod evidence;
mod format;
mod html;
mod layout;
mod markdown;
mod memory;
mod published;
mod svg;
mod template;
#[cfg(test)]
mod tests;
mod text;

pub use datasets::{DatasetEntry, DatasetLayout, Published, dataset_table};
pub use evaluations::Report;
pub use evidence::{DatasetFacts, Evidence, Predictions, Run, SplitFacts};
pub use layout::{Choice, Layout, Named, Publication, PublishedRow, SplitSizes, TableLayout, TaskColumns};
pub use memory::{MemoryLayout, MemoryRow, memory_table};

use crate::base::error::Result;

impl Report {
    /// All files of the report: name and content, in alphabetical order.
    pub fn files(&self) -> Result<Vec<(String, String)>> {
        let mut files = vec![
            ("README.md".to_owned(), markdown::readme(self)?),
            ("index.html".to_owned(), html::page(self)?),
            ("results.csv".to_owned(), csv::results(self)?),
        ];
        for table in &self.tables {
            files.push((format!("{}.md", table.name), markdown::table_page(table)));
            files.push((format!("{}.csv", table.name), csv::table(table)?));
        }
        files.sort();
        Ok(files)
    }
}
