//! What every tokenizer does: text to ids and back.

use super::{added_tokens::AddedTokens, tokenizer_input::TokenizerInput};
use crate::base::error::Result;

/// A tokenizer of any format.
pub trait Tokenizer: Send + Sync {
    /// Ids of a text as the reference cuts it, but for control tokens in a person's words, which stay text. No beginning
    /// or end token is added.
    ///
    /// # Errors
    /// A text that the vocabulary can't write, or in which a control token couldn't be kept text.
    fn encode(&self, input: &TokenizerInput<'_>) -> Result<Vec<u32>>;

    /// The text of `ids`, control tokens included. A model's output layer may have more rows than its tokenizer has ids
    /// (ChatGLM2's has 65,024 for 64,794): those that stand for nothing are shown as U+FFFD.
    ///
    /// # Errors
    /// Ids whose tokens the decoder can't put together.
    fn decode(&self, ids: &[u32]) -> Result<String>;

    /// Tokens that stand outside the model's own vocabulary, control tokens among them.
    fn added(&self) -> &AddedTokens;

    /// Number of ids, control tokens included.
    fn vocab_size(&self) -> usize;

    /// Ids of a person's words.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    fn encode_words(&self, words: &str) -> Result<Vec<u32>> {
        self.encode(&TokenizerInput::content_only(words, self.added().control()))
    }
}
