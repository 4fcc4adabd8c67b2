//! Pieces back to text.

use super::normalizer::{Normalizer, SPACE};

/// Decoded text between two control tokens.
#[derive(Default)]
pub struct Run {
    text: String,
    /// Bytes whose characters aren't complete yet.
    bytes: Vec<u8>,
    /// A space at the beginning was taken away.
    stripped: bool,
}

impl Run {
    /// Adds a piece as `normalizer` has it shown; `first`: nothing is shown before this run.
    pub fn push(&mut self, piece: &str, normalizer: &Normalizer, first: bool) {
        let begins = self.text.is_empty() && self.bytes.is_empty();
        let once = !self.stripped || normalizer.removes_spaces();
        match piece.strip_prefix(SPACE) {
            Some(rest) if begins && once && normalizer.hides_first_space(first) => {
                self.show(rest);
                self.stripped = true;
            }
            _ => self.show(piece),
        }
    }

    /// Adds a text that is shown as it is.
    pub fn show(&mut self, piece: &str) {
        self.flush();
        self.text.extend(piece.chars().map(|c| if c == SPACE { ' ' } else { c }));
    }

    /// Adds a byte of a character that has no piece.
    pub fn push_byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Bytes to characters; each byte that belongs to none is shown as U+FFFD.
    fn flush(&mut self) {
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            self.text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        self.bytes.clear();
    }

    /// Appends the text to `out`; the next run begins.
    pub fn end(&mut self, out: &mut String) {
        self.flush();
        out.push_str(&std::mem::take(self).text);
    }
}
