//! Text to token ids and back, for the tokenizer formats that models are published with.
//!
//! A format is one file here and one line in [`TextModel::load`]'s table. What a family of models adds in code is a
//! [`Convention`]. A text comes as a
//! [`Script`], which knows whose words are whose: control tokens (`<|im_end|>` and the like) come out of what a chat template
//! wrote, never out of a person's words, see [`crate::data::chat`].

mod added;
mod charsmap;
mod config;
mod convention;
mod gguf;
mod gguf_metadata;
mod json;
mod keys;
mod library;
mod model;
mod schema;
mod script;
mod sentencepiece;
#[cfg(test)]
pub(crate) mod testing;
mod wordpiece;

pub use added::AddedTokens;
pub use convention::Convention;
pub use library::LibraryTokenizer;
pub use model::{Files, TextModel, Tokenizer};
pub use script::Script;
