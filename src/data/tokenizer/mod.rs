//! Text to token ids and back, for the tokenizer formats that models are published with.
//!
//! A format is one file here and one line in [`TextModel::load`]'s table. What a family of models adds in code is a
//! [`Convention`]. Control tokens (`<|im_end|>` and the like)
//! never come out of [`Tokenizer::encode`]: only a chat template can write them, see [`crate::data::chat`].

mod convention;
mod gguf;
mod json;
mod library;
mod model;
mod sentencepiece;
mod specials;
#[cfg(test)]
pub(crate) mod testing;
mod wordpiece;

pub use convention::Convention;
pub use library::LibraryTokenizer;
pub use model::{Files, TextModel, Tokenizer};
pub use specials::{Piece, Specials, unused_char};
