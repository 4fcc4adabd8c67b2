//! One file a kind, one line each in the registry.

mod definitions;
mod evaluate;
#[cfg(test)]
mod tests;
mod threads;
mod tokenize;
mod train;

pub use evaluate::Evaluate;
pub use tokenize::Tokenize;
pub use train::Train;
