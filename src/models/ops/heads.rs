//! The heads of attention.

use super::precision::Precision;

/// The heads of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub queries: usize,
    /// Key/value heads.
    pub keys: usize,
    pub dim: usize,
    pub precision: Precision,
}

impl Heads {
    /// Width of a row of queries, keys and values.
    pub fn row(&self) -> usize {
        (self.queries + 2 * self.keys) * self.dim
    }

    /// Heads of queries that share keys and values.
    pub fn group(&self) -> usize {
        self.queries / self.keys
    }
}
