//! The `tokenizers` crate behind our [`Tokenizer`].

use super::{Specials, Tokenizer, specials::unused_char};
use crate::error::{Error, Result};

/// A tokenizer of the `tokenizers` crate whose control tokens can't be written by plain text.
pub struct LibraryTokenizer {
    inner: tokenizers::Tokenizer,
    specials: Specials,
}

impl LibraryTokenizer {
    /// Takes over the added tokens that `inner` calls special; other added tokens stay ordinary words.
    ///
    /// # Errors
    /// If `inner` refuses to work without truncation.
    pub fn new(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(library)?;
        let specials = Specials::new(
            inner.get_added_tokens_decoder().into_iter().filter(|(_, t)| t.special).map(|(id, t)| (t.content, id)),
        );
        Ok(Self { inner, specials })
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(library)?.get_ids().to_vec())
    }
}

impl Tokenizer for LibraryTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.ids(text)?;
        if !ids.iter().any(|id| self.specials.has_id(*id)) {
            return Ok(ids);
        }
        // Some models hold their control tokens among the ordinary pieces as well. What is left after this is the
        // unknown token, which plain text may give.
        let mark = unused_char(&[text]);
        let broken = self.specials.break_up(text, mark);
        let parts: Result<Vec<_>> = broken.split(mark).map(|part| self.ids(part)).collect();
        Ok(parts?.concat())
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let runs = ids.split(|id| self.inner.id_to_token(*id).is_none());
        let texts: Result<Vec<_>> = runs.map(|run| self.inner.decode(run, false).map_err(library)).collect();
        Ok(texts?.join("\u{fffd}"))
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

fn library(e: tokenizers::Error) -> Error {
    Error::input(format!("tokenizer: {e}"))
}
