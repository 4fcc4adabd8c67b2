//! A model's `config.json`, or what another format says in its place.
//!
//! Each key that is asked for is noted. What nobody asked for and no list calls harmless is refused by
//! [`Config::refuse_unread`]: it may change what the model computes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value};

use super::account::{is_listed, some_of};
use crate::base::error::{Error, Result};

/// Keys of a `config.json` that a pipeline file states.
pub type ConfigTable = BTreeMap<String, Value>;

/// Where a pipeline file states configuration.
const TABLE: &str = "the model's `config` table";

/// Keys and values under the reference implementation's names.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, for messages.
    place: String,
    values: Map<String, Value>,
    /// Keys that stand in the pipeline file alone.
    stated: BTreeSet<String>,
    read: RefCell<BTreeSet<String>>,
}

impl Config {
    /// Keys and values that stand in `place`.
    pub fn new(place: impl Into<String>, values: Map<String, Value>) -> Self {
        Self { place: place.into(), values, stated: BTreeSet::new(), read: RefCell::default() }
    }

    /// What a pipeline file states by itself.
    pub fn of_table(table: &ConfigTable) -> Self {
        Self::new(TABLE, table.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// With what a pipeline file states besides.
    ///
    /// # Errors
    /// Where both say something and it isn't the same.
    pub fn with_table(mut self, table: &ConfigTable) -> Result<Self> {
        for (key, value) in table {
            if self.add(key, value, TABLE)? {
                self.stated.insert(key.clone());
            }
        }
        Ok(self)
    }

    /// With what another file says besides.
    ///
    /// # Errors
    /// Where both say something and it isn't the same.
    pub fn with(mut self, other: Self) -> Result<Self> {
        for (key, value) in &other.values {
            self.add(key, value, &other.place)?;
        }
        self.place = format!("{} and {}", self.place, other.place);
        Ok(self)
    }

    /// Whether it is new.
    fn add(&mut self, key: &str, value: &Value, place: &str) -> Result<bool> {
        match self.values.get(key) {
            None => {
                self.values.insert(key.to_owned(), value.clone());
                Ok(true)
            }
            Some(own) if same(own, value) => Ok(false),
            Some(own) => {
                Err(Error::input(format!("`{key}` is {} in {}, and {} in {place}", show(own), self.place, show(value)))
                    .help("they describe different models, or one of them is wrong"))
            }
        }
    }

    /// The file that this was read from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// An error that names the place.
    pub fn wrong(&self, message: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: {message}", self.place))
    }

    /// Where the value of `key` stands, for messages.
    pub(super) fn place_of(&self, key: &str) -> &str {
        if self.stated.contains(key) { TABLE } else { &self.place }
    }

    /// An error that names the key, and its place.
    pub(super) fn wrong_key(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: `{key}` {message}", self.place_of(key)))
    }

    /// The value of a key, which counts as read; none where it is null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let found = self.values.get(key)?;
        self.read.borrow_mut().insert(key.to_owned());
        Some(found).filter(|value| !value.is_null())
    }

    /// The value of a key as `read` understands it; `what` says what it must be.
    ///
    /// # Errors
    /// If `read` makes nothing of the value.
    pub(super) fn read<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let understood = read(value).ok_or_else(|| self.wrong_key(key, format!("is {}, not {what}", show(value))))?;
        Ok(Some(understood))
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// If it isn't.
    pub(super) fn required<T>(&self, key: &str, found: Option<T>) -> Result<T> {
        found.ok_or_else(|| self.wrong_key(key, "is missing"))
    }

    /// # Errors
    /// If there is a key that nobody read, has a value, and is on none of the lists ([`is_listed`]).
    pub fn refuse_unread(&self, harmless: &[&[&str]]) -> Result<()> {
        let read = self.read.borrow();
        let unread =
            |(key, value): &(&String, &Value)| !value.is_null() && !read.contains(*key) && !is_listed(key, harmless);
        let unread: Vec<_> = self.values.iter().filter(unread).map(|(key, _)| key.as_str()).collect();
        let Some(first) = unread.first() else { return Ok(()) };
        let place = if unread.iter().all(|key| self.stated.contains(*key)) { TABLE } else { &self.place };
        let (names, value) = (some_of(unread.iter().copied()), show(&self.values[*first]));
        let what = if unread.len() == 1 { format!("{names} ({value}) isn't") } else { format!("{names} aren't") };
        Err(Error::input(format!("{place}: {what} understood, and may change what the model computes")).help(
            if place == TABLE {
                "correct the name, or leave the key out"
            } else {
                "the model has parts that this program doesn't know. If you are sure that it is computed like its family \
                 nevertheless, give a copy of the file without the key"
            },
        ))
    }
}

/// Says where to look up what is computed, where an error has no better advice.
///
/// # Errors
/// That of `result`.
pub fn advised<T>(result: Result<T>) -> Result<T> {
    result.map_err(|e| match e.help {
        Some(_) => e,
        None => e.help("docs/models.md says which models are computed, and what their files may hold"),
    })
}

/// A value in a sentence, cut where it is long.
pub(super) fn show(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Numbers are compared by value: 1 is 1.0.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests;
