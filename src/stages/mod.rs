//! One file a kind, one line each in the registry.

mod tokenize;

pub use tokenize::Tokenize;
