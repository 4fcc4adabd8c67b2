//! Plain text, one row a line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    line_ends::{check_line_ends, numbered},
    reader::Reader,
    records::{Place, Record, Records},
};
use crate::base::error::Result;

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
