//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become; prompts and tokens.

pub mod card;
pub mod chat;
pub mod expect;
pub mod frame;
pub mod metric;
pub mod normalize;
pub mod preparation;
pub mod prompt;
pub mod readers;
pub mod scheme;
pub mod split;
pub mod summary;
pub mod task;
pub mod tokenized;
pub mod tokenizer;
pub mod vocabulary;

pub use card::Card;
pub use preparation::{Example, Prepared, Recipe, read_examples, write_examples};
pub use split::Split;
pub use summary::{Pin, SourceFile, Summary};
pub use task::Task;
pub use tokenized::{Answer, LengthStats, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo};
pub use vocabulary::{TaskDefinition, definitions};

#[cfg(test)]
mod tests;
