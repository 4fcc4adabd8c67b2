//! One text a line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Reader, Record, Records};
use crate::error::Result;

/// Plain text: every line is a row with the one column `text`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {}

impl Reader for Lines {
    fn read(&self, text: &str) -> Result<Records> {
        let row = |(line, text): (u64, &str)| Record { place: Place::Line(line), values: vec![Some(text.to_owned())] };
        let rows = (1..).zip(text.lines()).map(row).collect();
        Ok(Records { columns: vec!["text".to_owned()], rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_row_even_an_empty_one() {
        let records = Lines {}.read("好看\r\n\n  差").unwrap();
        let rows: Vec<_> = records.rows.iter().map(|r| r.values[0].as_deref()).collect();
        assert_eq!(rows, ["好看", "", "  差"].map(Some));
        assert_eq!(records.rows[2].place, Place::Line(3));
    }
}
