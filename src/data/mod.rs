//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become.

pub mod card;
pub mod definitions;
pub mod frame;
pub mod normalize;
pub mod prepare;
pub mod readers;
pub mod scheme;
pub mod split;
pub mod summary;
pub mod task;

pub use card::Card;
pub use definitions::{TaskDefinition, definitions};
pub use prepare::{Example, Prepared, Recipe, read_examples, write_examples};
pub use split::Split;
pub use summary::Summary;
pub use task::Task;

#[cfg(test)]
mod tests;
