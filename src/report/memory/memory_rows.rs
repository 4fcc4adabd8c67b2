//! What training and evaluation hold in memory, and for what.

use super::super::named::Named;

/// What all rows have in common.
#[derive(Debug, Clone)]
pub struct MemoryLayout {
    pub title: String,
    /// The model's title.
    pub model: String,
    pub parameters: u64,
    /// What its matrices are kept in.
    pub dtype: String,
    /// Bytes of the device.
    pub budget: u64,
}

/// A method on a task. Parts are what memory is held for, and bytes.
#[derive(Debug, Clone)]
pub struct MemoryRow {
    pub task: Named,
    pub method: Named,
    /// Tokens.
    pub longest_prompt: usize,
    /// Tokens that all training prompts begin with.
    pub shared: usize,
    /// Prompts whose sentence was cut.
    pub cut: usize,
    /// Tokens of the largest row that a training step computes.
    pub training_row: usize,
    /// None where nothing is trained.
    pub training: Option<Vec<(&'static str, u64)>>,
    pub evaluation: Vec<(&'static str, u64)>,
}
