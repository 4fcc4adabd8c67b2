//! The table of memory: what training and evaluation hold at their worst moment.

mod memory_rows;
mod memory_table;
mod memory_totals;

pub use memory_rows::{MemoryLayout, MemoryRow};
pub use memory_table::memory_table;
