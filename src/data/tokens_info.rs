//! The files of a tokenized dataset: their names, and what its prompts have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer_tokens::Answer;

/// One row an example: `id` and `split` (strings), `label_id` (u32), `input_ids` (list of u32: the whole prompt, without
/// the answer).
pub const TOKENS_FILE: &str = "tokens.parquet";

/// A [`TokensInfo`].
pub const TOKENS_INFO_FILE: &str = "tokens.json";

/// What all prompts of a task have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensInfo {
    /// Format and kind of the tokenizer, for people.
    pub tokenizer: String,
    /// Number of ids that the tokenizer has, control tokens included.
    pub vocab_size: usize,
    /// In the order of `label_id`.
    pub labels: Vec<Answer>,
    /// The token that ends an answer.
    pub end_id: u32,
    /// The instruction, with `{sentence}` where the sentence stands.
    pub instruction: String,
    /// The prompt of the first training example, as the model reads it.
    pub example: String,
    /// Longest prompt that was allowed, in tokens.
    pub max_tokens: Option<usize>,
    pub prompt_tokens: LengthStats,
    /// Prompts whose sentence was shortened.
    pub truncated: usize,
    /// The same by split; splits without any are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub truncated_by_split: BTreeMap<String, usize>,
}

/// Lengths of all prompts, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthStats {
    pub min: usize,
    pub median: usize,
    /// 95 of 100 prompts are not longer.
    pub p95: usize,
    pub max: usize,
    /// Of all prompts together.
    pub total: u64,
}

impl LengthStats {
    /// `None` for no lengths at all. Percentiles are nearest-rank, so every one is a length that occurs.
    pub fn of(mut lengths: Vec<usize>) -> Option<Self> {
        lengths.sort_unstable();
        let (min, max) = (*lengths.first()?, *lengths.last()?);
        let rank = |percent: usize| lengths[(lengths.len() * percent).div_ceil(100).max(1) - 1];
        let total = lengths.iter().map(|l| *l as u64).sum();
        Some(Self { min, median: rank(50), p95: rank(95), max, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_lengths_that_occur() {
        let s = LengthStats::of((1..=100).rev().collect()).unwrap();
        assert_eq!((s.min, s.median, s.p95, s.max, s.total), (1, 50, 95, 100, 5050));
        assert_eq!(LengthStats::of(vec![7]).unwrap().p95, 7);
        assert_eq!(LengthStats::of(vec![]), None);
    }
}
