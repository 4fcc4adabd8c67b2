//! Samples as packed rows: their shared beginning once, each as a segment that continues it. Training and evaluation read these.

mod batch;
mod prompt_rows;
mod token_set;

pub use batch::{Answers, PackedBatch, Sample, most_in_row, rows, shared_beginning};
pub use prompt_rows::{TOKEN_BUDGET, groups, pack};
pub use token_set::TokenSet;
