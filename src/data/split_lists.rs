//! Files that list which rows belong to which split.

use indexmap::IndexMap;

use super::{
    readers::{Encoding, numbered},
    split::Split,
};
use crate::base::error::{Error, Result};

/// Which values of the split column belong to which split, where files list them.
#[derive(Default)]
pub(super) struct SplitLists {
    entries: IndexMap<String, Listed>,
}

struct Listed {
    split: Split,
    /// File and line.
    place: String,
    used: bool,
}

impl SplitLists {
    /// Adds the lines of a file. Empty ones don't count.
    ///
    /// # Errors
    /// Bytes that aren't of this encoding; a value that is listed twice.
    pub fn read(&mut self, split: Split, file: &str, bytes: &[u8], encoding: Encoding) -> Result<()> {
        let text = encoding.decode(bytes)?;
        for (number, line) in numbered(&text) {
            let name = line.trim();
            if name.is_empty() {
                continue;
            }
            let listed = Listed { split, place: format!("{file}: line {number}"), used: false };
            if let Some(first) = self.entries.get(name) {
                return Err(Error::input(format!("line {number}: `{name}` is listed twice; first in {}", first.place))
                    .help("a value can belong to one split only"));
            }
            self.entries.insert(name.to_owned(), listed);
        }
        Ok(())
    }

    /// The split whose list has this value.
    ///
    /// # Errors
    /// If no list has it.
    pub fn split_of(&mut self, name: &str) -> Result<Split> {
        match self.entries.get_mut(name) {
            Some(listed) => {
                listed.used = true;
                Ok(listed.split)
            }
            None => Err(Error::input(format!("`{name}` is in none of the lists of splits"))
                .help("are the lists of the same version as the data? They are the files under `fields.split_lists`")),
        }
    }

    /// Every listed value must occur.
    ///
    /// # Errors
    /// The first listed value that no row has.
    pub fn check_used(&self, column: &str) -> Result<()> {
        match self.entries.iter().find(|(_, listed)| !listed.used) {
            None => Ok(()),
            Some((name, listed)) => {
                Err(Error::input(format!("{}: no row has `{name}` in the column `{column}`", listed.place))
                    .help("is the data complete, and are the lists of the same version?"))
            }
        }
    }
}
