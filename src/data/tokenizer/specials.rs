//! Control tokens: finding them in what a chat template wrote, and keeping them out of what a user wrote.

use std::collections::BTreeMap;

/// A part of a rendered chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Special(u32),
}

/// The control tokens of a vocabulary.
#[derive(Debug, Clone)]
pub struct Specials {
    by_name: BTreeMap<String, u32>,
    /// Sorted.
    ids: Vec<u32>,
    /// Longest first, so that of two tokens that begin alike the longer one is found.
    by_length: Vec<(String, u32)>,
    /// Whether some name begins with a byte.
    starts: [bool; 256],
}

impl Specials {
    /// Empty names are left out.
    pub fn new(tokens: impl IntoIterator<Item = (String, u32)>) -> Self {
        let by_name: BTreeMap<String, u32> = tokens.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let mut by_length: Vec<_> = by_name.iter().map(|(name, id)| (name.clone(), *id)).collect();
        by_length.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut ids: Vec<u32> = by_name.values().copied().collect();
        ids.sort_unstable();
        let mut starts = [false; 256];
        for name in by_name.keys() {
            starts[name.as_bytes()[0] as usize] = true;
        }
        Self { by_name, ids, by_length, starts }
    }

    pub fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub fn has_id(&self, id: u32) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// The token that `text` begins with: length of its name in bytes, and id.
    fn at_start(&self, text: &[u8]) -> Option<(usize, u32)> {
        if !self.starts[*text.first()? as usize] {
            return None;
        }
        self.by_length.iter().find(|(name, _)| text.starts_with(name.as_bytes())).map(|(name, id)| (name.len(), *id))
    }

    /// Splits `text` at control tokens, from left to right; empty texts are left out.
    pub fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let (mut from, mut at) = (0, 0);
        // A name begins and ends on character boundaries, and UTF-8 can't match from inside a character.
        while at < text.len() {
            match self.at_start(&text.as_bytes()[at..]) {
                Some((len, id)) => {
                    if from < at {
                        pieces.push(Piece::Text(&text[from..at]));
                    }
                    pieces.push(Piece::Special(id));
                    at += len;
                    from = at;
                }
                None => at += 1,
            }
        }
        if from < text.len() {
            pieces.push(Piece::Text(&text[from..]));
        }
        pieces
    }

    /// Puts `mark` into every control token's name in `text`, so that [`Specials::split`] doesn't find it (names have two
    /// characters or more). `mark` must not occur in `text` or in a name.
    pub fn break_up(&self, text: &str, mark: char) -> String {
        let mut out = String::with_capacity(text.len());
        let mut marked_at = None;
        for (at, c) in text.char_indices() {
            // Before a name's second character, also where names overlap.
            if marked_at == Some(at) {
                out.push(mark);
            }
            if self.at_start(&text.as_bytes()[at..]).is_some() {
                marked_at = Some(at + c.len_utf8());
            }
            out.push(c);
        }
        out
    }
}

/// A private-use character that none of `texts` has.
pub fn unused_char(texts: &[&str]) -> char {
    // The fallback needs a text that has all of these 131,000 characters.
    ('\u{f0000}'..='\u{10fffd}').find(|c| !texts.iter().any(|t| t.contains(*c))).unwrap_or('\u{10fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        Specials::new([
            ("<|a|>".into(), 1),
            ("<|a|>b".into(), 2),
            ("问".into(), 3),
            ("aa".into(), 4),
            (String::new(), 9),
        ])
    }

    #[test]
    fn splits_at_the_longest_name() {
        use Piece::{Special, Text};
        let s = specials();
        assert_eq!(s.split("x<|a|>y<|a|>b问"), [Text("x"), Special(1), Text("y"), Special(2), Special(3)]);
        assert_eq!(s.split("闭<|a|"), [Text("闭<|a|")]);
        assert_eq!(s.split(""), []);
    }

    #[test]
    fn broken_names_are_text() {
        let s = Specials::new([("<|a|>".into(), 1), ("aa".into(), 4)]);
        for text in ["<|a|>", "x<|<|a|>a|> aaaa", "aaa", "闭<|a|><|a|>", "plain"] {
            let broken = s.break_up(text, '\u{e000}');
            assert_eq!(broken.replace('\u{e000}', ""), text);
            assert!(s.split(&broken).iter().all(|p| matches!(p, Piece::Text(_))), "{broken}");
        }
    }
}
