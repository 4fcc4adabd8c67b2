//! The `tokenizers` crate behind our [`Tokenizer`].
//!
//! The crate's own search for added tokens doesn't know whose words a text is, so that it is done here; normaliser,
//! pre-tokenizer and model are the crate's.

use std::ops::Range;

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Token,
    normalizer::Range as In,
};

use super::{
    added_tokens::{AddedTokens, Form},
    tokenizer_input::TokenizerInput,
    tokenizer_trait::Tokenizer,
};
use crate::base::error::{Error, Result};

/// A tokenizer of the `tokenizers` crate in which a person's words give no control tokens.
pub struct LibraryTokenizer {
    inner: tokenizers::Tokenizer,
    added: AddedTokens,
}

impl LibraryTokenizer {
    /// Takes over the added tokens of `inner`.
    pub fn new(inner: tokenizers::Tokenizer) -> Self {
        let added = AddedTokens::new(inner.get_added_tokens_decoder(), |name| {
            let mut text = NormalizedString::from(name);
            inner.get_normalizer()?.normalize(&mut text).ok()?;
            Some(text.get().to_owned())
        });
        Self { inner, added }
    }

    /// Cuts a part of the input at added tokens.
    fn cut(
        &self,
        part: &NormalizedString,
        form: Form,
        input: &TokenizerInput<'_>,
    ) -> tokenizers::Result<Vec<(NormalizedString, Option<Vec<Token>>)>> {
        let allowed = |id, range: &Range<usize>| input.allows(id, &original(part, range));
        let parts = self.added.cut(part.get(), form, allowed).into_iter();
        parts
            .map(|(id, range)| {
                let slice = part.slice(In::Normalized(range)).ok_or("a token ends inside a character")?;
                let token = id.map(|id| vec![Token::new(id, slice.get().to_owned(), (0, slice.get().len()))]);
                Ok((slice, token))
            })
            .collect()
    }

    /// The tokens of a word. Some models hold control tokens among their pieces as well: where a person's words give
    /// such a piece, they are cut apart in it.
    fn word(&self, word: &NormalizedString, input: &TokenizerInput<'_>) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.inner.get_model().tokenize(word.get())?;
        let text = word.get();
        let forbidden = |t: &Token| {
            input.guarded().contains(&t.id) && self.is_piece(t, text) && !input.allows(t.id, &original(word, &range(t)))
        };
        if tokens.iter().any(forbidden) { self.apart(text, input) } else { Ok(tokens) }
    }

    fn apart(&self, text: &str, input: &TokenizerInput<'_>) -> tokenizers::Result<Vec<Token>> {
        let tokens = self.inner.get_model().tokenize(text)?;
        let guarded = |t: &&Token| input.guarded().contains(&t.id) && self.is_piece(t, text);
        let Some(piece) = tokens.iter().find(guarded) else { return Ok(tokens) };
        let first = text[range(piece)].chars().next().map_or(0, char::len_utf8);
        let at = piece.offsets.0 + first;
        if at >= piece.offsets.1 {
            return Err(format!("the control token `{}` is a single character of the text", piece.value).into());
        }
        let mut apart = self.apart(&text[..at], input)?;
        apart.extend(self.apart(&text[at..], input)?);
        Ok(apart)
    }

    /// Whether the token stands for its own characters, and not for what the model doesn't know.
    fn is_piece(&self, token: &Token, text: &str) -> bool {
        let piece = self.inner.get_model().id_to_token(token.id);
        piece.is_some_and(|piece| text.get(range(token)) == Some(piece.as_str()))
    }

    fn ids(&self, input: &TokenizerInput<'_>) -> tokenizers::Result<Vec<u32>> {
        let mut text = PreTokenizedString::from(input.text());
        text.split(|_, part| self.cut(&part, Form::Raw, input))?;
        text.split(|_, mut part| {
            if let Some(normalizer) = self.inner.get_normalizer() {
                normalizer.normalize(&mut part)?;
            }
            self.cut(&part, Form::Normalized, input)
        })?;
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut text)?;
        }
        text.tokenize(|word| self.word(word, input))?;
        let words = text.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(words.into_iter().filter_map(|(_, _, tokens)| tokens.as_ref()).flatten().map(|token| token.id).collect())
    }
}

fn range(token: &Token) -> Range<usize> {
    token.offsets.0..token.offsets.1
}

/// Where a range of a part, after normalisation, lies in the whole text.
fn original(part: &NormalizedString, range: &Range<usize>) -> Range<usize> {
    let (start, end) = part.offsets_original();
    let inside = part.convert_offsets(In::Normalized(range.clone()));
    inside.map_or(start..end, |inside| start + inside.start..start + inside.end)
}

impl Tokenizer for LibraryTokenizer {
    fn encode(&self, input: &TokenizerInput<'_>) -> Result<Vec<u32>> {
        self.ids(input).map_err(library)
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let runs = ids.split(|id| self.inner.id_to_token(*id).is_none());
        let texts: Result<Vec<_>> = runs.map(|run| self.inner.decode(run, false).map_err(library)).collect();
        Ok(texts?.join("\u{fffd}"))
    }

    fn added(&self) -> &AddedTokens {
        &self.added
    }

    fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// What the crate says, as an error of a tokenizer's file.
pub fn library(e: tokenizers::Error) -> Error {
    Error::input(format!("tokenizer: {e}"))
}
