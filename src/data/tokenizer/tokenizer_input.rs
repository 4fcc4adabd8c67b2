//! A text for the tokenizer, of which some parts are a person's words.

use std::{collections::BTreeSet, ops::Range};

/// A text in which a template may write control tokens, and a person, whose words are quoted, may not.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    text: &'a str,
    /// Byte ranges of a person's words, in order.
    quoted: Vec<Range<usize>>,
    /// Ids of the tokens that quoted text doesn't become.
    guarded: &'a BTreeSet<u32>,
}

impl<'a> Script<'a> {
    pub fn new(text: &'a str, quoted: Vec<Range<usize>>, guarded: &'a BTreeSet<u32>) -> Self {
        Self { text, quoted, guarded }
    }

    /// A text that is a person's words as a whole.
    pub fn quoted(text: &'a str, guarded: &'a BTreeSet<u32>) -> Self {
        Self::new(text, std::iter::once(0..text.len()).collect(), guarded)
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the token may stand for this part of the text.
    pub fn allows(&self, id: u32, part: &Range<usize>) -> bool {
        !self.guarded.contains(&id) || !self.quoted.iter().any(|q| q.start < part.end && part.start < q.end)
    }

    /// The same for a part that begins at `start` and isn't longer than `len`.
    pub fn part(&self, range: Range<usize>) -> Self {
        let inside = |q: &Range<usize>| q.start.max(range.start)..q.end.min(range.end);
        let quoted = self.quoted.iter().map(inside).filter(|q| q.start < q.end);
        let quoted = quoted.map(|q| q.start - range.start..q.end - range.start).collect();
        Self { text: &self.text[range], quoted, guarded: self.guarded }
    }

    pub fn quotes(&self) -> &[Range<usize>] {
        &self.quoted
    }

    pub fn guarded(&self) -> &'a BTreeSet<u32> {
        self.guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one quoted part")]
    fn only_guarded_tokens_stay_out_of_quotes() {
        let guarded = BTreeSet::from([7]);
        let script = Script::new("ab cd ef", vec![3..5], &guarded);
        assert!(script.allows(7, &(0..3)) && script.allows(7, &(5..8)) && script.allows(1, &(3..5)));
        assert!(!script.allows(7, &(2..4)) && !script.allows(7, &(4..8)) && !script.allows(7, &(0..8)));
        let part = script.part(4..8);
        assert_eq!((part.text(), part.quotes()), ("d ef", &[0..1][..]));
        assert!(Script::quoted("", &guarded).part(0..0).quotes().is_empty());
    }
}
