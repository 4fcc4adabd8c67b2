//! A text for the tokenizer, of which some parts are the content of messages.

use std::{collections::BTreeSet, ops::Range};

/// A text in which a chat template may write control tokens, and the content of messages, which is a person's words, may
/// not.
#[derive(Debug, Clone)]
pub struct TokenizerInput<'a> {
    text: &'a str,
    /// Byte ranges of message content, in order.
    content: Vec<Range<usize>>,
    /// Ids of the tokens that content doesn't become.
    guarded: &'a BTreeSet<u32>,
}

impl<'a> TokenizerInput<'a> {
    /// `content`: byte ranges of message content, in order. `guarded`: ids of the tokens that it doesn't become.
    pub fn new(text: &'a str, content: Vec<Range<usize>>, guarded: &'a BTreeSet<u32>) -> Self {
        Self { text, content, guarded }
    }

    /// A text that is content as a whole.
    pub fn content_only(text: &'a str, guarded: &'a BTreeSet<u32>) -> Self {
        Self::new(text, std::iter::once(0..text.len()).collect(), guarded)
    }

    /// All of the text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the token may stand for this part of the text.
    pub fn allows(&self, id: u32, part: &Range<usize>) -> bool {
        !self.guarded.contains(&id) || !self.content.iter().any(|q| q.start < part.end && part.start < q.end)
    }

    /// The same for the part of the text in this range of bytes.
    pub fn part(&self, range: Range<usize>) -> Self {
        let inside = |q: &Range<usize>| q.start.max(range.start)..q.end.min(range.end);
        let content = self.content.iter().map(inside).filter(|q| q.start < q.end);
        let content = content.map(|q| q.start - range.start..q.end - range.start).collect();
        Self { text: &self.text[range], content, guarded: self.guarded }
    }

    /// Byte ranges of message content, in order.
    pub fn content(&self) -> &[Range<usize>] {
        &self.content
    }

    /// Ids of the tokens that content doesn't become.
    pub fn guarded(&self) -> &'a BTreeSet<u32> {
        self.guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range")]
    fn only_guarded_tokens_stay_out_of_content() {
        let guarded = BTreeSet::from([7]);
        let input = TokenizerInput::new("ab cd ef", vec![3..5], &guarded);
        assert!(input.allows(7, &(0..3)) && input.allows(7, &(5..8)) && input.allows(1, &(3..5)));
        assert!(!input.allows(7, &(2..4)) && !input.allows(7, &(4..8)) && !input.allows(7, &(0..8)));
        let part = input.part(4..8);
        assert_eq!((part.text(), part.content()), ("d ef", &[0..1][..]));
        assert!(TokenizerInput::content_only("", &guarded).part(0..0).content().is_empty());
    }
}
