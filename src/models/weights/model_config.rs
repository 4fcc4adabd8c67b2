//! A model's `config.json`, or what another format says in its place.
//!
//! Each key that is asked for is noted. What nobody asked for and no list calls harmless is refused by
//! [`Config::refuse_unread`]: it may change what the model computes.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::account::{is_listed, some_of};
use crate::{
    base::error::{Error, Result},
    models::ConfigTable,
};

/// Where a pipeline file states configuration.
const TABLE: &str = "the model's `config` table";

/// Bounds of sizes: far above any model's, and small enough that no product that is computed from them overflows.
pub mod most {
    pub const LAYERS: usize = 1 << 12;
    /// Heads, and the numbers of one head.
    pub const HEADS: usize = 1 << 12;
    /// Numbers of a token's state, inside a perceptron too.
    pub const WIDTH: usize = 1 << 20;
    pub const VOCABULARY: usize = 1 << 24;
    pub const POSITIONS: usize = 1 << 24;
}

/// What a norm adds to a variance.
pub const EPSILON: RangeInclusive<f64> = 1e-20..=0.1;

/// Base of rotary frequencies.
pub const THETA: RangeInclusive<f64> = 2.0..=1e12;

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
    pub fn new(place: impl Into<String>, values: Map<String, Value>) -> Self {
        Self { place: place.into(), values, stated: BTreeSet::new(), read: RefCell::default() }
    }

    /// What a pipeline file states by itself.
    pub fn of_table(table: &ConfigTable) -> Self {
        Self::new(TABLE, table.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// With what a pipeline file states besides. Where both say something, they must say the same.
    pub fn with_table(mut self, table: &ConfigTable) -> Result<Self> {
        for (key, value) in table {
            if self.add(key, value, TABLE)? {
                self.stated.insert(key.clone());
            }
        }
        Ok(self)
    }

    /// With what another file says besides. Where both say something, they must say the same.
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

    fn wrong_key(&self, key: &str, message: impl std::fmt::Display) -> Error {
        let place = if self.stated.contains(key) { TABLE } else { &self.place };
        Error::input(format!("{place}: `{key}` {message}"))
    }

    /// The value of a key, which counts as read; none where it is null.
    fn get(&self, key: &str) -> Option<&Value> {
        let found = self.values.get(key)?;
        self.read.borrow_mut().insert(key.to_owned());
        Some(found).filter(|value| !value.is_null())
    }

    fn read<'a, T>(&'a self, key: &str, what: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let understood = read(value).ok_or_else(|| self.wrong_key(key, format!("is {}, not {what}", show(value))))?;
        Ok(Some(understood))
    }

    fn required<T>(&self, key: &str, found: Option<T>) -> Result<T> {
        found.ok_or_else(|| self.wrong_key(key, "is missing"))
    }

    pub fn text(&self, key: &str) -> Result<&str> {
        self.required(key, self.optional_text(key)?)
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<&str>> {
        self.read(key, "a text", Value::as_str)
    }

    /// A number from 1 to `most`.
    pub fn size(&self, key: &str, most: usize) -> Result<usize> {
        self.required(key, self.optional_size(key, most)?)
    }

    pub fn size_or(&self, key: &str, most: usize, default: usize) -> Result<usize> {
        Ok(self.optional_size(key, most)?.unwrap_or(default))
    }

    pub fn optional_size(&self, key: &str, most: usize) -> Result<Option<usize>> {
        self.read(key, &format!("a whole number above 0 and up to {most}"), |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n))
        })
    }

    pub fn number(&self, key: &str, range: &RangeInclusive<f64>) -> Result<f64> {
        self.required(key, self.optional_number(key, range)?)
    }

    pub fn number_or(&self, key: &str, range: &RangeInclusive<f64>, default: f64) -> Result<f64> {
        Ok(self.optional_number(key, range)?.unwrap_or(default))
    }

    pub fn optional_number(&self, key: &str, range: &RangeInclusive<f64>) -> Result<Option<f64>> {
        let (least, most) = (range.start(), range.end());
        self.read(key, &format!("a number from {least:e} to {most:e}"), |value| {
            value.as_f64().filter(|x| range.contains(x))
        })
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A table inside, which has to be asked for what it says as this one.
    pub fn table(&self, key: &str) -> Result<Option<Self>> {
        let found = self.read(key, "a table", Value::as_object)?;
        Ok(found.map(|values| {
            let place = if self.stated.contains(key) { TABLE } else { &self.place };
            Self::new(format!("{place}: `{key}`"), values.clone())
        }))
    }

    /// Counts a key as read, whatever its value.
    pub fn ignore(&self, key: &str) {
        self.get(key);
    }

    /// Refuses every value but the one that is computed here. A key that isn't there asks for nothing else.
    pub fn expect(&self, key: &str, supported: impl Into<Value>) -> Result<()> {
        self.expect_one_of(key, &[supported.into()])
    }

    /// As [`Config::expect`], where several values mean the same.
    pub fn expect_one_of(&self, key: &str, supported: &[Value]) -> Result<()> {
        match self.get(key) {
            Some(value) if !supported.iter().any(|s| same(s, value)) => {
                let supported = supported.iter().map(show).collect::<Vec<_>>().join(" or ");
                Err(self.wrong_key(key, format!("is {}; only {supported} is supported", show(value))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a list with anything but the one value that is computed here.
    pub fn expect_each(&self, key: &str, supported: impl Into<Value>) -> Result<()> {
        let supported = supported.into();
        let other = match self.get(key) {
            None => return Ok(()),
            Some(Value::Array(items)) => items.iter().find(|item| **item != supported),
            Some(value) => Some(value),
        };
        match other {
            None => Ok(()),
            Some(other) => {
                Err(self.wrong_key(key, format!("has {}; only {} is supported", show(other), show(&supported))))
            }
        }
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
pub fn advised<T>(result: Result<T>) -> Result<T> {
    result.map_err(|e| match e.help {
        Some(_) => e,
        None => e.help("docs/models.md says which models are computed, and what their files may hold"),
    })
}

/// A value in a sentence, cut where it is long.
fn show(value: &Value) -> String {
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
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(values: Value) -> Config {
        Config::new("config.json", values.as_object().unwrap().clone())
    }

    #[track_caller]
    fn says<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
        let message = result.unwrap_err().message;
        for part in parts {
            assert!(message.contains(part), "`{part}` isn't in: {message}");
        }
    }

    #[test]
    fn what_nobody_reads_is_refused_by_name() {
        let c = config(json!({ "a": 1, "b": "x", "c": null, "d": 0, "e_x": [] }));
        assert_eq!(c.size("a", 10).unwrap(), 1);
        says(c.refuse_unread(&[&["d"], &["e_*"]]), &["config.json: `b` (`x`) isn't understood"]);
        says(c.refuse_unread(&[]), &["`b`, `d`, `e_x` aren't understood"]);
        c.expect("b", "x").unwrap();
        c.refuse_unread(&[&["d"], &["e_*"]]).unwrap();
    }

    #[test]
    fn tables_inside_are_accounted_for_too() {
        let c = config(json!({ "rope": { "kind": "default", "factor": 2.0 } }));
        let rope = c.table("rope").unwrap().unwrap();
        rope.expect("kind", "default").unwrap();
        says(rope.refuse_unread(&[]), &["config.json: `rope`: `factor` (2.0) isn't understood"]);
        c.refuse_unread(&[]).unwrap();
        says(config(json!({ "rope": "yarn" })).table("rope"), &["`rope` is `yarn`, not a table"]);
    }

    #[test]
    fn numbers_have_ranges() {
        for (value, fine) in [
            (json!(1e-5), true),
            (json!(0), false),
            (json!(-1e-5), false),
            (json!(7), false),
            (json!("NaN"), false),
            (json!(f64::MAX), false),
        ] {
            let c = config(json!({ "eps": value }));
            assert_eq!(c.number("eps", &EPSILON).is_ok(), fine, "{value}");
        }
        for value in [json!(0), json!(-3), json!(4.5), json!(4097), json!(u64::MAX), json!("4"), json!(true)] {
            says(config(json!({ "n": value })).size("n", 4096), &["config.json: `n` is", "above 0 and up to 4096"]);
        }
        says(config(json!({ "n": null })).size("n", 4096), &["`n` is missing"]);
    }

    #[test]
    fn lists_and_alternatives_are_compared_by_value() {
        let c = config(json!({ "one": 1, "zero": 0.0, "kinds": ["full", "full"], "other": ["full", "window"] }));
        c.expect_one_of("one", &[json!(1.0)]).unwrap();
        c.expect_one_of("zero", &[json!(1.0), json!(0)]).unwrap();
        says(c.expect_one_of("one", &[json!(2)]), &["`one` is 1; only 2 is supported"]);
        c.expect_each("kinds", "full").unwrap();
        says(c.expect_each("other", "full"), &["`other` has `window`; only `full` is supported"]);
        says(c.expect_each("one", "full"), &["`one` has 1"]);
    }

    #[test]
    fn what_a_pipeline_file_adds_is_named_as_its_own() {
        let table = ConfigTable::from([("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
        let c = config(json!({ "a": 1 })).with_table(&table).unwrap();
        says(c.size("b", 1), &["the model's `config` table: `b` is 2"]);
        says(c.size("a", 0), &["config.json: `a` is 1"]);
        let c = config(json!({ "a": 1 })).with_table(&table).unwrap();
        assert!(c.size("a", 1).is_ok());
        says(c.refuse_unread(&[]), &["the model's `config` table: `b` (2) isn't understood"]);
        says(config(json!({ "a": 3 })).with_table(&table), &["`a` is 3 in config.json, and 1 in the model's"]);
    }
}
