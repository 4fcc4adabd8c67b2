//! Delimited text in which double quotes enclose fields: what could be read in two ways is an error.

use super::line_ends::{line_end, torn};
use crate::base::error::{Error, Result};

/// A row and the lines that it begins and ends in.
pub(super) struct Row {
    pub line: u64,
    pub last: u64,
    pub fields: Vec<String>,
}

impl Row {
    /// For messages.
    pub fn place(&self) -> String {
        match self.last - self.line {
            0 => format!("line {}", self.line),
            _ => format!("lines {} to {}, which quotes make one row", self.line, self.last),
        }
    }
}

/// The rows of a text in which double quotes enclose fields.
///
/// # Errors
/// Quotes that open or close nothing, and line ends of which nothing tells whether they end a row; with their lines.
pub(super) fn quoted_rows(text: &str, delimiter: u8) -> Result<Vec<Row>> {
    let mut cursor = Cursor { text, at: 0, line: 1, delimiter, mac: !text.contains('\n'), alone: None, fed: false };
    let mut rows = Vec::new();
    while cursor.at < text.len() {
        // Between rows, empty lines are nothing.
        if !cursor.line_end() {
            rows.push(cursor.row()?);
        }
    }
    match cursor.alone {
        Some(line) if cursor.fed && rows.iter().all(|row| row.fields.len() < 2) => Err(torn(line)),
        _ => Ok(rows),
    }
}

/// Goes through a text with quotes.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    delimiter: u8,
    /// Whether a CR ends lines inside of quotes, too. Outside it always does.
    mac: bool,
    /// The first line that ends in a CR alone.
    alone: Option<u64>,
    /// Whether any line ends in a line feed.
    fed: bool,
}

impl Cursor<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Passes over a line end, if there is one here.
    fn line_end(&mut self) -> bool {
        let length = line_end(self.rest());
        match &self.rest()[..length] {
            [b'\r'] => self.alone = self.alone.or(Some(self.line)),
            end => self.fed |= !end.is_empty(),
        }
        self.at += length;
        self.line += u64::from(length > 0);
        length > 0
    }

    fn row(&mut self) -> Result<Row> {
        let (line, mut fields) = (self.line, Vec::new());
        loop {
            fields.push(if self.rest().first() == Some(&b'"') { self.quoted()? } else { self.unquoted()? });
            let last = self.line;
            if self.rest().first() == Some(&self.delimiter) {
                self.at += 1;
            } else if self.at == self.text.len() || self.line_end() {
                return Ok(Row { line, last, fields });
            }
        }
    }

    fn unquoted(&mut self) -> Result<String> {
        let rest = self.rest();
        let length = rest.iter().position(|b| *b == self.delimiter || matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
        let field = &self.text[self.at..self.at + length];
        let inner = field.trim();
        if inner.len() > 1 && inner.starts_with('"') && inner.ends_with('"') {
            return Err(Error::input(format!("line {}: blanks before the quote that opens a field", self.line))
                .help("take them out, or say `quoted = false` in the dataset's card if quotes are part of the text"));
        }
        self.at += length;
        Ok(field.to_owned())
    }

    fn quoted(&mut self) -> Result<String> {
        let opened = self.line;
        self.at += 1;
        let mut field = String::new();
        loop {
            let Some(length) = self.text[self.at..].find('"') else {
                return Err(Error::input(format!("line {opened}: a quote opens a field and is never closed")).help(
                    "close it, double it if it is part of the text, or say `quoted = false` in the dataset's card",
                ));
            };
            let end = self.at + length;
            field.push_str(&self.text[self.at..end]);
            let ends = self.text[self.at..end].matches(if self.mac { '\r' } else { '\n' });
            self.line += ends.count() as u64;
            self.at = end + 1;
            match self.rest().first() {
                Some(b'"') => {
                    field.push('"');
                    self.at += 1;
                }
                None | Some(b'\r' | b'\n') => return Ok(field),
                Some(next) if *next == self.delimiter => return Ok(field),
                Some(_) => return Err(self.stray(opened)),
            }
        }
    }

    /// The error for a quote in a quoted field that neither ends it nor is doubled.
    fn stray(&self, opened: u64) -> Error {
        let since = match self.line - opened {
            0 => String::new(),
            _ => format!(" that opens in line {opened}"),
        };
        Error::input(format!("line {}: something follows the quote that closes a field{since}", self.line)).help(
            "a quote that is part of a quoted text must be doubled (\"\"); a quote that isn't closed ends at the next one. If \
             quotes mean nothing in this file, say `quoted = false` in the dataset's card",
        )
    }
}
