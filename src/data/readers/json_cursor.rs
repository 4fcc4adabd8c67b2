//! Numbers, words and strings of JSON, and where in the text something is wrong.

use std::borrow::Cow;

use super::{
    json_value::Value,
    line_ends::{line_at, line_end},
};
use crate::base::error::{Error, Result};

/// Values of a file: about 2 GiB of memory.
pub(super) const MOST_VALUES: usize = 1 << 25;

/// What is wrong where the cursor stands.
pub(super) enum SyntaxError {
    Cut(&'static str),
    Bad(String),
    TooMuch,
}

/// What is wrong, as an error.
///
/// # Errors
/// Always: `what`.
pub(super) fn bad<T>(what: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError::Bad(what.into()))
}

/// A place in a text.
pub(super) struct Cursor<'a> {
    pub text: &'a str,
    /// Where it is, in bytes.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// The error with line and column.
    pub fn error(&self, error: SyntaxError) -> Error {
        let start = self.text[..self.at].rfind(['\r', '\n']).map_or(0, |end| end + 1);
        let column = self.text[start..self.at].chars().count() + 1;
        let place = format!("line {}, column {column}", line_at(self.text, self.at));
        match error {
            SyntaxError::Cut(inside) => {
                Error::input(format!("{place}: the file ends inside {inside}")).help("was it cut short?")
            }
            SyntaxError::Bad(what) => Error::input(format!("{place}: {what}"))
                .help("the file is no sound JSON: was it edited, or is it of another format?"),
            SyntaxError::TooMuch => {
                Error::input(format!("{place}: more than {MOST_VALUES} values, which memory is not meant for"))
                    .help("split the file into several and name them all in the card")
            }
        }
    }

    /// The byte here; none at the end.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space.
    pub fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over `byte` and whether it was there.
    pub fn passes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// A number, which begins here.
    ///
    /// # Errors
    /// What is no number of JSON.
    pub fn number(&mut self) -> Result<Value<'a>, SyntaxError> {
        let start = self.at;
        self.passes(b'-');
        let first = self.peek();
        let whole = self.digits();
        if whole == 0 {
            self.at = start;
            return self.word();
        }
        if whole > 1 && first == Some(b'0') {
            return bad("a number begins with 0");
        }
        if self.passes(b'.') && self.digits() == 0 {
            return bad("expected a digit");
        }
        if self.passes(b'e') || self.passes(b'E') {
            let _ = self.passes(b'+') || self.passes(b'-');
            if self.digits() == 0 {
                return bad("expected a digit");
            }
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    /// `null`, `true` or `false`.
    ///
    /// # Errors
    /// Any other word.
    pub fn word(&mut self) -> Result<Value<'a>, SyntaxError> {
        let rest = &self.text[self.at..];
        for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        match &rest[..end] {
            word @ ("NaN" | "Infinity" | "-Infinity" | "-NaN" | "inf" | "nan") => {
                bad(format!("`{word}` is no number in JSON; a value that is missing is `null`"))
            }
            _ if rest.starts_with('<') => bad("`<`: is the file a web page in place of the data?"),
            _ if rest.starts_with('\'') => bad("strings stand in double quotes"),
            _ => bad("expected a value"),
        }
    }

    /// A string, whose opening quote is here.
    ///
    /// # Errors
    /// A string that doesn't end, or holds what JSON doesn't allow.
    pub fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut from = start;
        loop {
            match self.peek() {
                None => return Err(SyntaxError::Cut("a string")),
                Some(b'"') => {
                    let rest = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(match unescaped {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    });
                }
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_with(String::new);
                    text.push_str(&self.text[from..self.at]);
                    text.push(self.escape()?);
                    from = self.at;
                }
                Some(0..0x20) => {
                    return bad(match line_end(&self.text.as_bytes()[self.at..]) {
                        0 => "a control character inside a string",
                        _ => "a line ends inside a string",
                    });
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let Some(kind) = self.text.as_bytes().get(self.at + 1) else { return Err(SyntaxError::Cut("a string")) };
        let plain = match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code(),
            _ => return bad("an unknown escape in a string"),
        };
        self.at += 2;
        Ok(plain)
    }

    /// A `\u` with its four digits, or two of them for one character.
    fn code(&mut self) -> Result<char, SyntaxError> {
        const HALF: &str = "an escape for half a character";
        let first = self.unit(self.at)?;
        let (code, length) = match first {
            0xd800..0xdc00 if self.text.as_bytes()[self.at + 6..].starts_with(b"\\u") => {
                let second = self.unit(self.at + 6)?;
                if !(0xdc00..0xe000).contains(&second) {
                    return bad(HALF);
                }
                (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
            }
            code => (code, 6),
        };
        let Some(c) = char::from_u32(code) else { return bad(HALF) };
        self.at += length;
        Ok(c)
    }

    fn unit(&self, at: usize) -> Result<u32, SyntaxError> {
        let Some(digits) = self.text.as_bytes().get(at + 2..at + 6) else { return Err(SyntaxError::Cut("a string")) };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match digits.iter().map(digit).try_fold(0, |code, digit| Some(code * 16 + digit?)) {
            Some(code) => Ok(code),
            None => bad("`\\u` needs four hexadecimal digits"),
        }
    }
}
