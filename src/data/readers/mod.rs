//! File formats: bytes to rows of named strings. A format is one file here and one line in the registry of `file_format`.

mod delimited;
mod encoding;
mod file_format;
mod json;
mod json_cursor;
mod json_parser;
mod json_path;
mod json_value;
mod line_ends;
mod lines;
mod quoted_rows;
mod reader;
mod records;

pub use encoding::Encoding;
pub use file_format::FileFormat;
pub use line_ends::numbered;
pub use records::{Place, Record, Records};
