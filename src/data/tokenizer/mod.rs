//! Text to token ids and back, for the tokenizer formats that models are published with.
//!
//! A format is one file here and one line in [`TextModel::load`]'s table. What a family of models adds in code is a
//! [`Convention`]. A text comes as a
//! [`Script`], which knows whose words are whose: control tokens (`<|im_end|>` and the like) come out of what a chat template
//! wrote, never out of a person's words, see [`crate::data::chat`].

mod added;
mod charsmap;
mod convention;
mod gguf_metadata;
mod gguf_vocabulary;
mod json_parts;
mod known_keys;
mod library;
mod script;
mod sentencepiece;
#[cfg(test)]
pub(crate) mod test_tokenizer;
mod text_model;
mod tokenizer_config;
mod tokenizer_json;
mod wordpiece;

pub use added::AddedTokens;
pub use convention::Convention;
pub use library::LibraryTokenizer;
pub use script::Script;
pub use text_model::{Files, TextModel, Tokenizer};
