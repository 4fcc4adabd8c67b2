//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become; prompts and tokens.

mod answer_tokens;
pub mod card;
mod card_checks;
pub mod chat;
mod counts;
mod diagnose;
mod duplicates;
mod example;
pub mod expected_counts;
pub mod frame;
pub mod label_scheme;
pub mod metric;
pub mod normalize;
mod preparation;
mod preparation_spec;
pub mod prompt;
pub mod prompter;
pub mod rating_interval;
pub mod readers;
mod rows;
pub mod split;
mod split_lists;
pub mod summary;
pub mod task;
pub mod task_definition;
pub mod tokenizer;
mod tokens_info;

pub use answer_tokens::{Answer, answers};
pub use card::Card;
pub use example::{EXAMPLES_FILE, Example, read_examples, write_examples};
pub use preparation::Prepared;
pub use preparation_spec::PreparationSpec;
pub use split::Split;
pub use summary::{Pin, SourceFile, Summary};
pub use task::Task;
pub use task_definition::{TaskDefinition, definitions};
pub use tokens_info::{LengthStats, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo};

#[cfg(test)]
mod tests;
