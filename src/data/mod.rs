//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become.

pub mod chat;
pub mod frame;
pub mod prompt;
pub mod tokenizer;
pub mod tokens;

pub use tokens::{Answer, LengthStats, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo};
