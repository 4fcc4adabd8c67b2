//! File formats: bytes to rows of named strings. One file a format, and one line in [`Format`].

mod delimited;
mod json;
mod lines;

pub use delimited::Delimited;
pub use json::Json;
pub use lines::Lines;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::card::Problem;
use crate::error::{Error, Result};

/// File format, and its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "kebab-case")]
pub enum Format {
    Delimited(Delimited),
    Json(Json),
    Lines(Lines),
}

/// What each format does.
trait Reader {
    /// All rows of a file.
    fn read(&self, text: &str) -> Result<Records>;

    /// Options that contradict each other.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

impl Format {
    fn reader(&self) -> &dyn Reader {
        match self {
            Self::Delimited(reader) => reader,
            Self::Json(reader) => reader,
            Self::Lines(reader) => reader,
        }
    }

    /// All rows of the file `name`.
    ///
    /// # Errors
    /// Undecodable bytes, wrong numbers of fields, a file without rows; each with file and line or byte.
    pub fn read(&self, name: &str, bytes: &[u8], encoding: Encoding) -> Result<Records> {
        let text = encoding.decode(bytes).map_err(|e| e.at(name))?;
        let records = self.reader().read(&text).map_err(|e| e.at(name))?;
        if records.rows.is_empty() {
            return Err(Error::input(format!("{name}: the file has no rows"))
                .help("check the source: was the right file downloaded, or the right member of the archive?"));
        }
        Ok(records)
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.reader().problems()
    }
}

/// The rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    pub columns: Vec<String>,
    pub rows: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub place: Place,
    /// In the order of the columns; none where the row has nothing there.
    pub values: Vec<Option<String>>,
}

/// Where a row is in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Line on which it begins, counted from 1.
    Line(u64),
    /// Names of the lists and tables that it lies in, and which of their members it is or is in.
    Members(Vec<(String, String)>),
}

impl Place {
    /// Tells the row from all others of its file: `12`, or `3/1`.
    pub fn id(&self) -> String {
        match self {
            Self::Line(line) => line.to_string(),
            Self::Members(members) => members.iter().map(|(_, member)| member.as_str()).collect::<Vec<_>>().join("/"),
        }
    }
}

impl fmt::Display for Place {
    /// `line 12`, or `dialogue 3, turn 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Members(members) if members.is_empty() => f.write_str("at the top"),
            Self::Members(members) => {
                let members: Vec<_> = members.iter().map(|(name, member)| format!("{name} {member}")).collect();
                f.write_str(&members.join(", "))
            }
        }
    }
}

impl Records {
    /// Position of a column.
    ///
    /// # Errors
    /// A column that isn't there, with those that are.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|c| c == name).ok_or_else(|| {
            Error::input(format!("no column `{name}`; the columns are: {}", self.columns.join(", ")))
                .help("correct `fields` in the dataset's card, or `read.columns` where the file has no header row")
        })
    }
}

/// Character encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8, with or without a byte-order mark.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// Windows-1252; its five undefined bytes become control characters.
    #[serde(rename = "windows-1252")]
    Windows1252,
    /// ISO 8859-1: every byte is the character of the same number.
    #[serde(rename = "latin-1")]
    Latin1,
}

impl Encoding {
    /// The text of a file.
    ///
    /// # Errors
    /// The first byte that isn't of this encoding, with its line.
    pub fn decode(self, bytes: &[u8]) -> Result<String> {
        match self {
            Self::Utf8 => {
                let text = std::str::from_utf8(bytes).map_err(|e| {
                    let at = e.valid_up_to();
                    let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
                    Error::input(format!("line {line}, byte {at}: 0x{:02x} is not UTF-8", bytes[at]))
                        .help("say how the file is encoded in the dataset's card: `encoding = \"windows-1252\"` or \"latin-1\"")
                })?;
                Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
            }
            Self::Windows1252 => Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()),
            Self::Latin1 => Ok(encoding_rs::mem::decode_latin1(bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_give_their_characters() {
        assert_eq!(Encoding::Utf8.decode("\u{feff}né".as_bytes()).unwrap(), "né");
        assert_eq!(Encoding::Windows1252.decode(b"\x93ok\x94 \xe9").unwrap(), "\u{201c}ok\u{201d} é");
        assert_eq!(Encoding::Latin1.decode(b"\x93 \xe9").unwrap(), "\u{93} é");
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_placed() {
        let lines = Format::Lines(Lines {});
        let e = lines.read("neg.txt", b"fine\nbad \xff here\n", Encoding::Utf8).unwrap_err();
        assert_eq!(e.message, "neg.txt: line 2, byte 9: 0xff is not UTF-8");
        assert!(e.help.is_some_and(|h| h.contains("windows-1252")));
    }

    #[test]
    fn a_file_without_rows_is_an_error() {
        for format in [Format::Lines(Lines {}), Format::Delimited(Delimited::default())] {
            let e = format.read("pos.txt", b"", Encoding::Utf8).unwrap_err();
            assert_eq!(e.message, "pos.txt: the file has no rows");
        }
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_are_there() {
        let records = Format::Delimited(Delimited::default()).read("a.csv", b"id,txt\n1,x\n", Encoding::Utf8).unwrap();
        assert_eq!(records.column("text").unwrap_err().message, "no column `text`; the columns are: id, txt");
    }
}
