//! A parser of JSON that keeps what is written: no key is there twice, and what is wrong has a place.

use indexmap::map::Entry;

use super::{
    json_cursor::{Cursor, MOST_VALUES, SyntaxError, bad},
    json_value::{Table, Value},
};
use crate::base::error::Result;

/// Lists and tables inside each other.
const DEEPEST: usize = 128;
/// The value of a JSON file, or the list of the values of a JSON Lines file: one that has several, each on a line of its
/// own. `name` ending in `.jsonl` or `.ndjson` makes a list also of a single table.
///
/// # Errors
/// What is no JSON, with line and column.
pub(super) fn parse<'a>(name: &str, text: &'a str) -> Result<Value<'a>> {
    let mut parser = Parser { cursor: Cursor { text, at: 0 }, depth: 0, left: MOST_VALUES };
    let parsed = parser.document(name);
    parsed.map_err(|error| parser.cursor.error(error))
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    /// Values that may still come.
    left: usize,
}

impl<'a> Parser<'a> {
    fn document(&mut self, name: &str) -> Result<Value<'a>, SyntaxError> {
        self.cursor.blanks();
        let start = self.cursor.at;
        let first = self.value()?;
        let mut end = self.cursor.at;
        let mut one_line = !self.cursor.text[start..end].contains(['\r', '\n']);
        self.cursor.blanks();
        if self.cursor.at == self.cursor.text.len() {
            let name = name.to_ascii_lowercase();
            let lines = [".jsonl", ".ndjson"].iter().any(|ending| name.ends_with(ending));
            return Ok(if lines && one_line && matches!(first, Value::Table(_)) {
                Value::List(vec![first])
            } else {
                first
            });
        }
        let mut all = vec![first];
        while self.cursor.at < self.cursor.text.len() {
            if !self.cursor.text[end..self.cursor.at].contains(['\r', '\n']) {
                return bad("something follows the value on its line");
            }
            if !one_line {
                return bad(
                    "another value follows one of several lines; JSON Lines has each value on a line of its own",
                );
            }
            let start = self.cursor.at;
            all.push(self.value()?);
            end = self.cursor.at;
            one_line = !self.cursor.text[start..end].contains(['\r', '\n']);
            self.cursor.blanks();
        }
        if one_line {
            Ok(Value::List(all))
        } else {
            bad("a value goes over several lines; JSON Lines has each on one line")
        }
    }

    fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        self.left = self.left.checked_sub(1).ok_or(SyntaxError::TooMuch)?;
        match self.cursor.peek() {
            None => Err(SyntaxError::Cut("a value")),
            Some(b'{') => self.nested(Self::table),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => self.cursor.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.cursor.number(),
            Some(_) => self.cursor.word(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value<'a>, SyntaxError>) -> Result<Value<'a>, SyntaxError> {
        if self.depth == DEEPEST {
            return bad(format!("lists and tables lie in each other more than {DEEPEST} deep"));
        }
        self.depth += 1;
        self.cursor.at += 1;
        self.cursor.blanks();
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut items = Vec::new();
        if self.cursor.passes(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.cursor.blanks();
            match self.cursor.peek() {
                None => return Err(SyntaxError::Cut("a list")),
                Some(b']') => {
                    self.cursor.at += 1;
                    return Ok(Value::List(items));
                }
                Some(b',') => self.cursor.at += 1,
                Some(_) => return bad("expected `,` or `]`"),
            }
            self.cursor.blanks();
        }
    }

    fn table(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut table = Table::new();
        if self.cursor.passes(b'}') {
            return Ok(Value::Table(Box::new(table)));
        }
        loop {
            let start = self.cursor.at;
            match self.cursor.peek() {
                None => return Err(SyntaxError::Cut("a table")),
                Some(b'"') => {}
                Some(_) => return bad("expected a key in double quotes"),
            }
            let key = self.cursor.string()?;
            self.cursor.blanks();
            if !self.cursor.passes(b':') {
                return if self.cursor.peek().is_none() {
                    Err(SyntaxError::Cut("a table"))
                } else {
                    bad("expected `:`")
                };
            }
            self.cursor.blanks();
            match table.entry(key) {
                Entry::Vacant(place) => drop(place.insert(self.value()?)),
                Entry::Occupied(there) => {
                    self.cursor.at = start;
                    return bad(format!("the key `{}` is in the table twice", there.key()));
                }
            }
            self.cursor.blanks();
            match self.cursor.peek() {
                None => return Err(SyntaxError::Cut("a table")),
                Some(b'}') => {
                    self.cursor.at += 1;
                    return Ok(Value::Table(Box::new(table)));
                }
                Some(b',') => self.cursor.at += 1,
                Some(_) => return bad("expected `,` or `}`"),
            }
            self.cursor.blanks();
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
