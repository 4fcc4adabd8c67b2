//! One file a kind, one line each in the registry.

mod definitions;
mod evaluate;
mod tokenize;
mod train;

pub use evaluate::Evaluate;
pub use tokenize::Tokenize;
pub use train::Train;
