//! A packed row by its sizes, how answers are found, and memory part by part.

/// One packed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub tokens: usize,
    /// Tokens whose successor is predicted.
    pub predicting: usize,
}

impl Row {
    /// The row behind so many places of an adapter's prompt.
    pub(super) fn behind(self, places: usize) -> Self {
        Self { tokens: self.tokens + places, ..self }
    }
}

/// How answers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// Given answers (or classes) are scored.
    Scored,
    /// Text is written token by token: what was read is kept, and all logits of a row are there at once.
    Written,
}

/// What is held at the worst moment, part by part, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(pub Vec<(&'static str, u64)>);

impl Parts {
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}
