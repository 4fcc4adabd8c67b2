//! A parser of JSON that keeps what is written: no key is there twice, and what is wrong has a place.

use std::borrow::Cow;

use indexmap::map::Entry;

use super::{
    json_value::{Table, Value},
    line_ends::{line_at, line_end},
};
use crate::base::error::{Error, Result};

/// Lists and tables inside each other.
const DEEPEST: usize = 128;
/// Values of a file: about 2 GiB of memory.
const MOST_VALUES: usize = 1 << 25;

/// The value of a JSON file, or the list of the values of a JSON Lines file: one that has several, each on a line of its
/// own. `name` ending in `.jsonl` or `.ndjson` makes a list also of a single table.
///
/// # Errors
/// What is no JSON, with line and column.
pub(super) fn parse<'a>(name: &str, text: &'a str) -> Result<Value<'a>> {
    let mut parser = Parser { text, at: 0, depth: 0, left: MOST_VALUES };
    let parsed = parser.document(name);
    parsed.map_err(|error| parser.error(error))
}

/// What is wrong where the parser stands.
enum SyntaxError {
    Cut(&'static str),
    Bad(String),
    TooMuch,
}

fn bad<T>(what: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError::Bad(what.into()))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Values that may still come.
    left: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, error: SyntaxError) -> Error {
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

    fn document(&mut self, name: &str) -> Result<Value<'a>, SyntaxError> {
        self.blanks();
        let start = self.at;
        let first = self.value()?;
        let mut end = self.at;
        let mut one_line = !self.text[start..end].contains(['\r', '\n']);
        self.blanks();
        if self.at == self.text.len() {
            let name = name.to_ascii_lowercase();
            let lines = [".jsonl", ".ndjson"].iter().any(|ending| name.ends_with(ending));
            return Ok(if lines && one_line && matches!(first, Value::Table(_)) {
                Value::List(vec![first])
            } else {
                first
            });
        }
        let mut all = vec![first];
        while self.at < self.text.len() {
            if !self.text[end..self.at].contains(['\r', '\n']) {
                return bad("something follows the value on its line");
            }
            if !one_line {
                return bad(
                    "another value follows one of several lines; JSON Lines has each value on a line of its own",
                );
            }
            let start = self.at;
            all.push(self.value()?);
            end = self.at;
            one_line = !self.text[start..end].contains(['\r', '\n']);
            self.blanks();
        }
        if one_line {
            Ok(Value::List(all))
        } else {
            bad("a value goes over several lines; JSON Lines has each on one line")
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over `byte` and whether it was there.
    fn passes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        self.left = self.left.checked_sub(1).ok_or(SyntaxError::TooMuch)?;
        match self.peek() {
            None => Err(SyntaxError::Cut("a value")),
            Some(b'{') => self.nested(Self::table),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value<'a>, SyntaxError>) -> Result<Value<'a>, SyntaxError> {
        if self.depth == DEEPEST {
            return bad(format!("lists and tables lie in each other more than {DEEPEST} deep"));
        }
        self.depth += 1;
        self.at += 1;
        self.blanks();
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut items = Vec::new();
        if self.passes(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            match self.peek() {
                None => return Err(SyntaxError::Cut("a list")),
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                Some(b',') => self.at += 1,
                Some(_) => return bad("expected `,` or `]`"),
            }
            self.blanks();
        }
    }

    fn table(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut table = Table::new();
        if self.passes(b'}') {
            return Ok(Value::Table(Box::new(table)));
        }
        loop {
            let start = self.at;
            match self.peek() {
                None => return Err(SyntaxError::Cut("a table")),
                Some(b'"') => {}
                Some(_) => return bad("expected a key in double quotes"),
            }
            let key = self.string()?;
            self.blanks();
            if !self.passes(b':') {
                return if self.peek().is_none() { Err(SyntaxError::Cut("a table")) } else { bad("expected `:`") };
            }
            self.blanks();
            match table.entry(key) {
                Entry::Vacant(place) => drop(place.insert(self.value()?)),
                Entry::Occupied(there) => {
                    self.at = start;
                    return bad(format!("the key `{}` is in the table twice", there.key()));
                }
            }
            self.blanks();
            match self.peek() {
                None => return Err(SyntaxError::Cut("a table")),
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Table(Box::new(table)));
                }
                Some(b',') => self.at += 1,
                Some(_) => return bad("expected `,` or `}`"),
            }
            self.blanks();
        }
    }

    fn number(&mut self) -> Result<Value<'a>, SyntaxError> {
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

    fn word(&mut self) -> Result<Value<'a>, SyntaxError> {
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

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> String {
        parse("d.json", text).unwrap_err().message
    }

    #[test]
    fn values_are_what_is_written() {
        let text = r#" {"a": [1.0, 1e5, -0, 36893488147419103233, true, null], "b\n\u00e9\ud83d\ude00": {"c": ""}} "#;
        let value = parse("d.json", text).unwrap();
        assert_eq!(
            value.scalar().unwrap(),
            "{\"a\":[1.0,1e5,-0,36893488147419103233,true,null],\"b\\né😀\":{\"c\":\"\"}}"
        );
    }

    #[test]
    fn what_is_no_json_is_placed() {
        for (text, expected) in [
            ("", "line 1, column 1: the file ends inside a value"),
            ("[1,\r\n 2", "line 2, column 3: the file ends inside a list"),
            ("{\"a\": 1,\r\"a\": 2}", "line 2, column 1: the key `a` is in the table twice"),
            ("{\"a\": 1, \"\\u0061\": 2}", "line 1, column 10: the key `a` is in the table twice"),
            ("{\"ü\" 1}", "line 1, column 6: expected `:`"),
            ("[NaN]", "line 1, column 2: `NaN` is no number in JSON; a value that is missing is `null`"),
            ("[-Infinity]", "line 1, column 2: `-Infinity` is no number in JSON; a value that is missing is `null`"),
            ("[01]", "line 1, column 4: a number begins with 0"),
            ("[1.]", "line 1, column 4: expected a digit"),
            ("[1,]", "line 1, column 4: expected a value"),
            ("{'a': 1}", "line 1, column 2: expected a key in double quotes"),
            ("<html>", "line 1, column 1: `<`: is the file a web page in place of the data?"),
            ("\"a\nb\"", "line 1, column 3: a line ends inside a string"),
            ("\"\\ud800\"", "line 1, column 2: an escape for half a character"),
            ("\"\\ud800\\u0061\"", "line 1, column 2: an escape for half a character"),
            ("\"\\u12", "line 1, column 2: the file ends inside a string"),
            ("[1] [2]", "line 1, column 5: something follows the value on its line"),
            (
                "[\n1]\n[2]",
                "line 3, column 1: another value follows one of several lines; JSON Lines has each value on a line of its own",
            ),
            ("[1]\n[2,\n3]", "line 3, column 3: a value goes over several lines; JSON Lines has each on one line"),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
        assert!(message(&"[".repeat(200)).contains("more than 128 deep"));
    }

    #[test]
    fn several_values_a_line_each_are_a_list() {
        let lines = parse("d.json", "{\"a\":1}\r\n\n{\"a\":2}\n").unwrap();
        assert_eq!(lines, parse("d.json", "[{\"a\":1},{\"a\":2}]").unwrap());
        assert_eq!(parse("d.JSONL", "{\"a\":1}\n").unwrap(), parse("d.json", "[{\"a\":1}]").unwrap());
        assert!(matches!(parse("d.json", "{\"a\":1}\n").unwrap(), Value::Table(_)));
        assert!(matches!(parse("d.jsonl", "[{\"a\":1}]\n").unwrap(), Value::List(_)));
    }

    proptest! {
        #[test]
        fn what_another_parser_takes_is_taken_and_the_same(text in "[\\[\\]{}:,\" \\\\a-c0-2.eEu+\n-]{0,24}") {
            let ours = parse("d.json", &text);
            if let Ok(theirs) = serde_json::from_str::<serde_json::Value>(&text)
                && let Ok(ours) = &ours
            {
                let mut again = String::new();
                ours.write(&mut again);
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), theirs);
            } else if let Err(e) = ours {
                let theirs = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert!(theirs.is_err() || e.message.contains("twice"), "{}: {}", text, e);
            }
        }
    }
}
