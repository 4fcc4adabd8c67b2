//! CSV, TSV and their kin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    line_ends::{check_line_ends, numbered},
    quoted_rows::{Row, quoted_rows},
    reader::Reader,
    records::{Place, Record, Records, listed},
};
use crate::{
    base::error::{Error, Result},
    config::{Diagnostic, Node},
    data::diagnose::diagnostic,
};

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
    fn read(&self, _: &str, text: &str) -> Result<Records> {
        let mut rows = if self.quoted { quoted_rows(text, self.delimiter as u8)? } else { self.plain_rows(text) };
        let columns = if !self.columns.is_empty() {
            self.columns.clone()
        } else if rows.is_empty() {
            Vec::new()
        } else {
            rows.remove(0).fields
        };
        // Of a line that is torn in two, neither half has all fields; but here it may have.
        if !self.quoted && (columns.len() < 2 || self.rest) {
            check_line_ends(text)?;
        }
        for row in &rows {
            let found = row.fields.len();
            if found != columns.len() {
                return Err(Error::input(format!(
                    "{}: {found} field{} where there are {} columns ({})",
                    row.place(),
                    if found == 1 { "" } else { "s" },
                    columns.len(),
                    listed(&columns),
                ))
                .help("check `read.delimiter`, `read.quoted` and `read.columns` in the dataset's card"));
            }
        }
        let rows = rows.into_iter().map(|row| Record::full(Place::Line(row.line), row.fields)).collect();
        Ok(Records { columns, rows })
    }

    fn diagnostics(&self, table: &Node) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if !self.delimiter.is_ascii() || matches!(self.delimiter, '\r' | '\n' | '\0') {
            found.push(diagnostic(table, ["delimiter"], "the delimiter must be an ASCII character that ends no line"));
        }
        if self.quoted && self.delimiter == '"' {
            found.push(diagnostic(table, ["delimiter"], "a quote can't be the delimiter unless `quoted = false`"));
        }
        if self.rest && (self.quoted || self.columns.is_empty()) {
            found.push(diagnostic(table, ["rest"], "`rest` needs `quoted = false`, and `columns`"));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.columns.iter().find(|name| !seen.insert(*name)) {
            found.push(diagnostic(table, ["columns"], format!("`{twice}` is listed twice")));
        }
        found
    }
}

impl Delimited {
    fn plain_rows(&self, text: &str) -> Vec<Row> {
        let most = if self.rest { self.columns.len().max(1) } else { usize::MAX };
        let row = |(line, text): (u64, &str)| Row {
            line,
            last: line,
            fields: text.splitn(most, self.delimiter).map(str::to_owned).collect(),
        };
        numbered(text).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::diagnose::nowhere;

    fn values(records: &Records) -> Vec<Vec<&str>> {
        records.rows.iter().map(|r| (0..records.columns.len()).filter_map(|c| r.get(c)).collect()).collect()
    }

    #[test]
    fn quoted_fields_hold_delimiters_and_line_ends() {
        let records = Delimited::default().read("", "label,text\nneg,\"a, \"\"b\"\"\r\nc\"\npos,d\n").unwrap();
        assert_eq!(records.columns, ["label", "text"]);
        assert_eq!(values(&records), [["neg", "a, \"b\"\r\nc"], ["pos", "d"]]);
        assert_eq!(records.rows[1].place, Place::Line(4));
        let crlf =
            Delimited::default().read("", "label,text\r\nneg,\"a\rb\"\r\npos,\"c\r\n\r\nd\"\r\n\r\npos,e\r\n").unwrap();
        assert_eq!(crlf.rows.iter().map(|r| r.place.id()).collect::<Vec<_>>(), ["2", "3", "7"]);
    }

    #[test]
    fn without_quoting_a_quote_is_text() {
        let tsv = Delimited { delimiter: '\t', quoted: false, columns: vec!["id".into(), "text".into()], rest: false };
        let records = tsv.read("", "1\t\"oh\r\n2\tno\" way").unwrap();
        assert_eq!(values(&records), [["1", "\"oh"], ["2", "no\" way"]]);
    }

    #[test]
    fn the_last_column_can_take_the_rest() {
        let sst = Delimited { delimiter: ' ', quoted: false, columns: vec!["label".into(), "text".into()], rest: true };
        assert_eq!(values(&sst.read("", "3 not bad at all\n").unwrap()), [["3", "not bad at all"]]);
    }

    #[test]
    fn a_wrong_number_of_fields_is_placed() {
        let e = Delimited::default().read("", "label,text\nneg,a\npos,b,c\n").unwrap_err();
        assert_eq!(e.message, "line 3: 3 fields where there are 2 columns (label, text)");
        let tsv = Delimited { delimiter: '\t', quoted: false, columns: vec!["id".into(), "text".into()], rest: false };
        let e = tsv.read("", "1\ta\n\n2\tb\n").unwrap_err();
        assert!(e.message.starts_with("line 2: 1 field where"), "{}", e.message);
    }

    #[test]
    fn quotes_that_could_mean_two_things_are_refused_with_their_line() {
        let fails = |text: &str| {
            let e = Delimited::default().read("", text).unwrap_err();
            assert!(e.help.is_some(), "{e}");
            e.message
        };
        assert_eq!(fails("a,b\n1,2\n3,\"4\n5,6\n"), "line 3: a quote opens a field and is never closed");
        assert_eq!(
            fails("a,b\r\n\"1,2\r\n\"3\",4\r\n"),
            "line 3: something follows the quote that closes a field that opens in line 2"
        );
        assert_eq!(fails("a,b\n\"he \"said\" so\",2\n"), "line 2: something follows the quote that closes a field");
        assert_eq!(fails("a,b\n1, \"2\"\n"), "line 2: blanks before the quote that opens a field");
        assert_eq!(
            fails("a,b\n\"1\n2\n\",3,4\n"),
            "lines 2 to 4, which quotes make one row: 3 fields where there are 2 columns (a, b)"
        );
        // A quote inside of a field that has none around it is text to everyone.
        assert_eq!(values(&Delimited::default().read("", "a,b\n1,the 2\" one\n").unwrap()), [["1", "the 2\" one"]]);
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "1,\"x", "y\"", "", "2,", "3,z"].join(end);
            for quoted in [text.clone(), text.clone() + end] {
                let records = Delimited::default().read("", &quoted).unwrap();
                assert_eq!(values(&records), [["1", &format!("x{end}y")], ["2", ""], ["3", "z"]], "{end:?}");
                assert_eq!(records.rows.iter().map(|r| r.place.id()).collect::<Vec<_>>(), ["2", "5", "6"]);
            }
        }
        let mixed = Delimited::default().read("", "a,b\n1,2\r3,4\r\n5,6").unwrap();
        assert_eq!(values(&mixed), [["1", "2"], ["3", "4"], ["5", "6"]]);
        let e = Delimited::default().read("", "a\n1\r2\n").unwrap_err();
        assert!(e.message.starts_with("line 2: a carriage return"), "{e}");
        assert_eq!(values(&Delimited::default().read("", "a\n\"1\r2\"\n").unwrap()), [["1\r2"]]);
    }

    #[test]
    fn what_has_no_meaning_is_found_in_the_card() {
        let message = |d: Delimited| d.diagnostics(&nowhere()).into_iter().map(|p| p.message).collect::<String>();
        assert!(message(Delimited { delimiter: '"', ..Delimited::default() }).contains("a quote"));
        assert!(message(Delimited { delimiter: '\n', ..Delimited::default() }).contains("ends no line"));
        let twice = vec!["a".to_owned(), "a".to_owned()];
        assert!(message(Delimited { columns: twice, ..Delimited::default() }).contains("listed twice"));
    }
}
