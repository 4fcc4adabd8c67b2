//! CSV. No cell is a formula. Figures are fractions with six decimals; what is missing is `NA`.

use ::csv::Writer;

use super::text::csv_cell;
use crate::base::error::{Error, Result};

pub(super) const NA: &str = "NA";

pub(super) fn na() -> String {
    NA.to_owned()
}

/// A fraction with six decimals; never `-0`.
pub(super) fn number(x: f64) -> String {
    format!("{:.6}", x + 0.0)
}

/// The rows as one file; the first is the header.
///
/// # Errors
/// None that rows of one length can cause.
pub(super) fn write(rows: impl IntoIterator<Item = Vec<String>>) -> Result<String> {
    let mut writer = Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.into_iter().map(csv_cell)).map_err(Error::internal)?;
    }
    let bytes = writer.into_inner().map_err(Error::internal)?;
    String::from_utf8(bytes).map_err(Error::internal)
}
