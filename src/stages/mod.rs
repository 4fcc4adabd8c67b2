//! One file a kind, one line each in the registry.

mod definitions;
mod evaluate;
mod prepare;
#[cfg(test)]
mod tests;
mod threads;
mod tokenize;
mod train;

pub use evaluate::Evaluate;
pub use prepare::Prepare;
pub use tokenize::Tokenize;
pub use train::Train;
