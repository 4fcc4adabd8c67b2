//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become; prompts and tokens.

pub mod card;
mod card_checks;
pub mod chat;
mod diagnose;
pub mod expected_counts;
pub mod frame;
pub mod label_scheme;
pub mod normalize;
pub mod preparation;
pub mod prompt;
pub mod prompter;
pub mod rating_interval;
pub mod readers;
pub mod split;
pub mod summary;
pub mod task;
pub mod task_definition;
pub mod tokenizer;

pub use card::Card;
pub use preparation::{Example, Prepared, Recipe, read_examples, write_examples};
pub use prompter::{Answer, LengthStats, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo};
pub use split::Split;
pub use summary::{Pin, SourceFile, Summary};
pub use task::Task;
pub use task_definition::{TaskDefinition, definitions};

#[cfg(test)]
mod tests;
