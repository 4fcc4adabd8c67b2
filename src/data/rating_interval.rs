//! Intervals of ratings, as a card writes them: `[-0.5, 0.5]`, `(0.5, inf)`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::base::error::{Error, Result};

/// An interval of ratings. Square brackets include their end, round ones don't: `[-0.5, 0.5]`, `(0.5, inf)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    low: f64,
    low_inside: bool,
    high: f64,
    high_inside: bool,
}

impl Interval {
    /// Whether the value lies inside.
    pub fn contains(&self, value: f64) -> bool {
        (value > self.low || (self.low_inside && value == self.low))
            && (value < self.high || (self.high_inside && value == self.high))
    }

    /// Whether a value lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| a.high < b.low || (a.high == b.low && !(a.high_inside && b.low_inside));
        !before(self, other) && !before(other, self)
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::input(format!(
                "`{text}` is no interval such as `[-0.5, 0.5]` (ends inside) or `(0.5, inf)` (ends outside)"
            ))
        };
        let trimmed = text.trim();
        let low_inside = trimmed.starts_with('[');
        let high_inside = trimmed.ends_with(']');
        let inner = trimmed.strip_prefix(['[', '(']).and_then(|t| t.strip_suffix([']', ')'])).ok_or_else(wrong)?;
        let (low, high) = inner.split_once(',').ok_or_else(wrong)?;
        let low: f64 = low.trim().parse().map_err(|_| wrong())?;
        let high: f64 = high.trim().parse().map_err(|_| wrong())?;
        let holds_something = low < high || (low == high && low_inside && high_inside);
        if !holds_something {
            return Err(Error::input(format!("the interval `{text}` is empty")));
        }
        Ok(Self { low, low_inside, high, high_inside })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.low_inside { '[' } else { '(' };
        let close = if self.high_inside { ']' } else { ')' };
        write!(f, "{open}{}, {}{close}", self.low, self.high)
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[\[(].+,.+[\])]\s*$",
            "description": "Interval of ratings, such as `[-0.5, 0.5]` or `(0.5, inf)`; square brackets include their end",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_written() {
        for text in ["[-0.5, 0.5]", "(0.5, 4]", "[-inf, 0)", "[0, 0]"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        for text in ["", "0.5", "[1]", "[1, x]", "[2, 1]", "[1, 1)", "1, 2", "[NaN, 1]"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}
