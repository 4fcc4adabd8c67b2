//! What each format of dataset files does.

use super::records::Records;
use crate::{
    base::error::Result,
    config::{Diagnostic, Node},
};

pub(super) trait Reader {
    /// All rows of the file `name`.
    ///
    /// # Errors
    /// What the format doesn't allow, with its line or byte.
    fn read(&self, name: &str, text: &str) -> Result<Records>;

    /// Options that contradict each other; `table` is where they are written.
    fn diagnostics(&self, _table: &Node) -> Vec<Diagnostic> {
        Vec::new()
    }
}
