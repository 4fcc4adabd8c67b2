//! The registry of file formats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{encoding::Encoding, reader::Reader, records::Records};
use crate::{
    base::error::{Error, Result},
    config::{Diagnostic, Node},
};

/// Makes [`FileFormat`] of the readers' modules and types. The card's key `format` is a type's name in kebab case.
macro_rules! registry {
    ($($module:ident::$Format:ident),+ $(,)?) => {
        $(use super::$module::$Format;)+

        /// File format, and its options.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "format", rename_all = "kebab-case")]
        pub enum FileFormat {
            $($Format($Format),)+
        }

        impl FileFormat {
            fn reader(&self) -> &dyn Reader {
                match self {
                    $(Self::$Format(reader) => reader,)+
                }
            }
        }
    };
}

registry! {
    delimited::Delimited,
    json::Json,
    lines::Lines,
}

impl FileFormat {
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

    /// Options that contradict each other; `table` is where they are written.
    pub fn diagnostics(&self, table: &Node) -> Vec<Diagnostic> {
        self.reader().diagnostics(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_utf8_is_placed() {
        let lines = FileFormat::Lines(Lines {});
        let e = lines.read("neg.txt", b"fine\nbad \xff here\n", Encoding::Utf8).unwrap_err();
        assert_eq!(e.message, "neg.txt: line 2, byte 9: 0xff is not UTF-8");
        assert!(e.help.is_some_and(|h| h.contains("windows-1252")));
    }

    #[test]
    fn a_file_without_rows_is_an_error() {
        for format in [FileFormat::Lines(Lines {}), FileFormat::Delimited(Delimited::default())] {
            let e = format.read("pos.txt", b"", Encoding::Utf8).unwrap_err();
            assert_eq!(e.message, "pos.txt: the file has no rows");
        }
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_are_there() {
        let records =
            FileFormat::Delimited(Delimited::default()).read("a.csv", b"id,txt\n1,x\n", Encoding::Utf8).unwrap();
        assert_eq!(records.column("text").unwrap_err().message, "no column `text`; the columns are: id, txt");
    }

    #[test]
    fn a_name_that_two_columns_have_is_refused_where_it_is_used() {
        let read =
            |text: &str| FileFormat::Delimited(Delimited::default()).read("a.csv", text.as_bytes(), Encoding::Utf8);
        let records = read("text,label,text,,\nx,y,z,,\n").unwrap();
        assert_eq!(records.column("label").unwrap(), 1);
        assert_eq!(records.column("text").unwrap_err().message, "the columns 1 and 3 are both called `text`");
        let odd = read("text, label\nx,y\n").unwrap().column("label").unwrap_err();
        assert!(odd.message.ends_with("the columns are: text, ` label`"), "{odd}");
    }
}
