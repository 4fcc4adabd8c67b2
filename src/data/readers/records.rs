//! What a file's rows are, whatever its format: values by column, each row with its place.

use std::fmt;

use crate::base::error::{Error, Result};

/// The rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    pub columns: Vec<String>,
    pub rows: Vec<Record>,
}

/// A row, with its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub place: Place,
    /// Column and value, sorted. A row takes no room for columns in which it has nothing, since in some files there are as
    /// many columns as rows.
    cells: Vec<(usize, String)>,
}

impl Record {
    /// With a value for each column from the first one on.
    pub(super) fn full(place: Place, values: impl IntoIterator<Item = String>) -> Self {
        Self { place, cells: values.into_iter().enumerate().collect() }
    }

    /// Sets what the row has in a column, if anything.
    pub(super) fn add(&mut self, column: usize, value: Option<String>) {
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
pub(super) fn listed(columns: &[String]) -> String {
    let shown = |name: &String| {
        let plain =
            name.trim() == name && !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '\u{feff}');
        if plain { name.clone() } else { format!("`{}`", name.escape_debug()) }
    };
    columns.iter().map(shown).collect::<Vec<_>>().join(", ")
}
