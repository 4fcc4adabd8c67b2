//! One text a line; and what a line is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Reader, Record, Records};
use crate::base::error::{Error, Result};

/// Plain text: every line is a row with the one column `text`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {}

impl Reader for Lines {
    fn read(&self, _: &str, text: &str) -> Result<Records> {
        check_line_ends(text)?;
        let rows = numbered(text).map(|(line, text)| Record::full(Place::Line(line), [text.to_owned()])).collect();
        Ok(Records { columns: vec!["text".to_owned()], rows })
    }
}

/// Lines with their numbers, from 1. They end in LF, CR LF or, as on old Macs, CR.
pub fn numbered(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut rest = text;
    let lines = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[end + line_end(&rest.as_bytes()[end..])..];
        Some(line)
    });
    (1..).zip(lines)
}

/// Bytes of the line end that `rest` begins with; 0 where there is none.
pub(super) fn line_end(rest: &[u8]) -> usize {
    match rest {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// Number of the line that the byte `at` is in, from 1.
pub(super) fn line_at(text: &str, at: usize) -> u64 {
    let head = &text.as_bytes()[..at];
    let ends = head.iter().enumerate().filter(|(i, byte)| match byte {
        b'\n' => true,
        // A CR before LF counts with it.
        b'\r' => text.as_bytes().get(i + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count() as u64 + 1
}

/// Refuses a CR that may end a line or be part of it, where nothing else could tell.
pub(super) fn check_line_ends(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let alone = |i: &usize| bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n');
    match (0..bytes.len()).find(alone) {
        Some(at) if bytes.contains(&b'\n') => Err(torn(line_at(text, at))),
        _ => Ok(()),
    }
}

pub(super) fn torn(line: u64) -> Error {
    Error::input(format!("line {line}: a carriage return without a line feed, where other lines end in a line feed"))
        .help("does it end a row, or is it part of the text? Make the file's line ends the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        let records = Lines {}.read("", text).unwrap();
        records.rows.iter().map(|r| r.get(0).unwrap().to_owned()).collect()
    }

    #[test]
    fn every_line_is_a_row_even_an_empty_one() {
        assert_eq!(rows("好看\r\n\n  差"), ["好看", "", "  差"]);
        assert_eq!(Lines {}.read("", "a\r\n\nb").unwrap().rows[2].place, Place::Line(3));
        assert_eq!(rows("a\rb\r\rc\r"), ["a", "b", "", "c"]);
    }

    #[test]
    fn a_carriage_return_that_could_mean_two_things_is_refused() {
        let e = Lines {}.read("", "a\nb\rc\n").unwrap_err();
        assert!(e.message.starts_with("line 2: a carriage return"), "{e}");
    }
}
