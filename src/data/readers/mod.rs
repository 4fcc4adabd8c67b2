//! File formats: bytes to rows of named strings. One file a format, and one line in [`Format`].

mod delimited;
mod encoding;
mod json;
mod json_value;
mod lines;

pub use delimited::Delimited;
pub use encoding::Encoding;
pub use json::Json;
pub use lines::{Lines, numbered};
use lines::{check_line_ends, line_at, line_end, torn};

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::card::Problem;
use crate::base::error::{Error, Result};

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
    /// All rows of the file `name`.
    fn read(&self, name: &str, text: &str) -> Result<Records>;

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
        let records = self.reader().read(name, &text).map_err(|e| e.at(name))?;
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
    /// Column and value, sorted. A row takes no room for columns in which it has nothing, since in some files there are as
    /// many columns as rows.
    cells: Vec<(usize, String)>,
}

impl Record {
    /// With a value for each column from the first one on.
    fn full(place: Place, values: impl IntoIterator<Item = String>) -> Self {
        Self { place, cells: values.into_iter().enumerate().collect() }
    }

    /// Sets what the row has in a column, if anything.
    fn add(&mut self, column: usize, value: Option<String>) {
        if let Some(value) = value {
            let at = self.cells.partition_point(|(before, _)| *before < column);
            self.cells.insert(at, (column, value));
        }
    }

    /// What the row has in a column.
    pub fn get(&self, column: usize) -> Option<&str> {
        let at = self.cells.binary_search_by_key(&column, |(column, _)| *column).ok()?;
        Some(&self.cells[at].1)
    }
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
    /// A column that isn't there, with those that are; one that is there several times.
    pub fn column(&self, name: &str) -> Result<usize> {
        let mut found = self.columns.iter().enumerate().filter(|(_, column)| *column == name).map(|(i, _)| i);
        let first = found.next().ok_or_else(|| {
            Error::input(format!("no column `{name}`; the columns are: {}", listed(&self.columns)))
                .help("correct `fields` in the dataset's card, or `read.columns` where the file has no header row")
        })?;
        match found.next() {
            None => Ok(first),
            Some(second) => {
                Err(Error::input(format!("the columns {} and {} are both called `{name}`", first + 1, second + 1))
                    .help("nobody could tell which of them is meant: rename one of them in the file"))
            }
        }
    }
}

/// Names of columns, for people. What can't be seen in a name is made visible.
fn listed(columns: &[String]) -> String {
    let shown = |name: &String| {
        let plain =
            name.trim() == name && !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '\u{feff}');
        if plain { name.clone() } else { format!("`{}`", name.escape_debug()) }
    };
    columns.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    #[test]
    fn a_name_that_two_columns_have_is_refused_where_it_is_used() {
        let read = |text: &str| Format::Delimited(Delimited::default()).read("a.csv", text.as_bytes(), Encoding::Utf8);
        let records = read("text,label,text,,\nx,y,z,,\n").unwrap();
        assert_eq!(records.column("label").unwrap(), 1);
        assert_eq!(records.column("text").unwrap_err().message, "the columns 1 and 3 are both called `text`");
        let odd = read("text, label\nx,y\n").unwrap().column("label").unwrap_err();
        assert!(odd.message.ends_with("the columns are: text, ` label`"), "{odd}");
    }
}
