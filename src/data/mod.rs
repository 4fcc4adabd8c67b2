//! stub

pub mod chat;
pub mod frame;
pub mod prompt;
pub mod tokenizer;
pub mod tokens;
