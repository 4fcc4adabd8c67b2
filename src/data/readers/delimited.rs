//! CSV, TSV and their kin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Problem, Reader, Record, Records};
use crate::error::{Error, Result};

/// Fields between delimiters, one row a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delimited {
    /// The character between two fields.
    pub delimiter: char,
    /// Whether double quotes enclose fields, which may then hold delimiters and line ends. Otherwise quotes are text.
    pub quoted: bool,
    /// Names of the columns, where the file has no header row.
    pub columns: Vec<String>,
    /// Whether the last column takes the rest of the line, delimiters included. Needs `quoted = false`.
    pub rest: bool,
}

impl Default for Delimited {
    fn default() -> Self {
        Self { delimiter: ',', quoted: true, columns: Vec::new(), rest: false }
    }
}

impl Reader for Delimited {
    fn read(&self, text: &str) -> Result<Records> {
        let mut rows = if self.quoted { self.quoted_rows(text)? } else { self.plain_rows(text) };
        let columns = if !self.columns.is_empty() {
            self.columns.clone()
        } else if rows.is_empty() {
            Vec::new()
        } else {
            rows.remove(0).values.into_iter().flatten().collect()
        };
        for row in &rows {
            let found = row.values.len();
            if found != columns.len() {
                return Err(Error::input(format!(
                    "{}: {found} field{} where there are {} columns ({})",
                    row.place,
                    if found == 1 { "" } else { "s" },
                    columns.len(),
                    columns.join(", "),
                ))
                .help("check `read.delimiter`, `read.quoted` and `read.columns` in the dataset's card"));
            }
        }
        Ok(Records { columns, rows })
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if !self.delimiter.is_ascii() {
            found.push(Problem::new("read.delimiter", "the delimiter must be an ASCII character"));
        }
        if self.rest && (self.quoted || self.columns.is_empty()) {
            found.push(Problem::new("read.rest", "`rest` needs `quoted = false`, and `columns`"));
        }
        found
    }
}

impl Delimited {
    fn quoted_rows(&self, text: &str) -> Result<Vec<Record>> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter as u8)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        // The reader's own line numbers lag behind where lines end in CR LF.
        let (mut line, mut counted) = (1, 0);
        reader
            .records()
            .map(|record| {
                let record = record.map_err(Error::input)?;
                let position = record.position().map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX));
                let rest = text.get(position..).unwrap_or_default();
                let start = text.len() - rest.trim_start_matches(['\r', '\n']).len();
                line += text[counted..start].matches('\n').count() as u64;
                counted = start;
                Ok(row(line, record.iter()))
            })
            .collect()
    }

    fn plain_rows(&self, text: &str) -> Vec<Record> {
        let most = if self.rest { self.columns.len().max(1) } else { usize::MAX };
        (1..).zip(text.lines()).map(|(line, text)| row(line, text.splitn(most, self.delimiter))).collect()
    }
}

fn row<'a>(line: u64, fields: impl Iterator<Item = &'a str>) -> Record {
    Record { place: Place::Line(line), values: fields.map(|field| Some(field.to_owned())).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(records: &Records) -> Vec<Vec<&str>> {
        records.rows.iter().map(|r| r.values.iter().flatten().map(String::as_str).collect()).collect()
    }

    #[test]
    fn quoted_fields_hold_delimiters_and_line_ends() {
        let records = Delimited::default().read("label,text\nneg,\"a, \"\"b\"\"\r\nc\"\npos,d\n").unwrap();
        assert_eq!(records.columns, ["label", "text"]);
        assert_eq!(values(&records), [["neg", "a, \"b\"\r\nc"], ["pos", "d"]]);
        assert_eq!(records.rows[1].place, Place::Line(4));
        let crlf =
            Delimited::default().read("label,text\r\nneg,\"a\rb\"\r\npos,\"c\r\n\r\nd\"\r\n\r\npos,e\r\n").unwrap();
        assert_eq!(crlf.rows.iter().map(|r| r.place.id()).collect::<Vec<_>>(), ["2", "3", "7"]);
    }

    #[test]
    fn without_quoting_a_quote_is_text() {
        let tsv = Delimited { delimiter: '\t', quoted: false, columns: vec!["id".into(), "text".into()], rest: false };
        let records = tsv.read("1\t\"oh\r\n2\tno\" way").unwrap();
        assert_eq!(values(&records), [["1", "\"oh"], ["2", "no\" way"]]);
    }

    #[test]
    fn the_last_column_can_take_the_rest() {
        let sst = Delimited { delimiter: ' ', quoted: false, columns: vec!["label".into(), "text".into()], rest: true };
        assert_eq!(values(&sst.read("3 not bad at all\n").unwrap()), [["3", "not bad at all"]]);
    }

    #[test]
    fn a_wrong_number_of_fields_is_placed() {
        let e = Delimited::default().read("label,text\nneg,a\npos,b,c\n").unwrap_err();
        assert_eq!(e.message, "line 3: 3 fields where there are 2 columns (label, text)");
        let tsv = Delimited { delimiter: '\t', quoted: false, columns: vec!["id".into(), "text".into()], rest: false };
        let e = tsv.read("1\ta\n\n2\tb\n").unwrap_err();
        assert!(e.message.starts_with("line 2: 1 field where"), "{}", e.message);
    }
}
