//! Lines of a text: LF, CR LF or CR end them, and what could be read in two ways is refused.

use crate::base::error::{Error, Result};

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
///
/// # Errors
/// The line of the first such CR.
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
