//! JSON: rows at some depth of nested lists and tables, such as the utterances of dialogues.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Place, Problem, Reader, Record, Records};
use crate::error::{Error, Result};

/// Tables (objects) as rows; tables inside of a row give columns such as `emotion.main`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Json {
    /// Where the rows are, from the outermost value inwards: `{dialogue}.{turn}` for a list of lists of rows,
    /// `{scene}.lines.{line}` where the rows lie under the key `lines`. `{NAME}` stands for all members of a list (numbered
    /// from 1) or of a table (by key), and makes the number or key a column of that name.
    pub rows: String,
    /// Further columns from elsewhere in the file: name, and path from the outermost value, in which `{COLUMN}` stands for
    /// what the row has in that column. Rows for which there is nothing at the path have no value.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// A part of a path.
enum Step<'a> {
    Key(&'a str),
    /// All members, or the one that a column names.
    Named(&'a str),
}

fn steps(path: &str) -> Result<Vec<Step<'_>>> {
    path.split('.')
        .map(|part| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Step::Named(name)),
            None if !part.is_empty() && !part.contains(['{', '}']) => Ok(Step::Key(part)),
            _ => Err(Error::input(format!("`{path}` is no path of keys and `{{NAME}}`s between dots"))),
        })
        .collect()
}

impl Reader for Json {
    fn read(&self, text: &str) -> Result<Records> {
        let root: Value = serde_json::from_str(text).map_err(|e| damaged(&e))?;
        let steps = steps(&self.rows)?;
        let mut walk = Walk { columns: IndexMap::new(), rows: Vec::new() };
        for step in &steps {
            if let Step::Named(name) = step {
                walk.column(name);
            }
        }
        walk.descend(&root, &steps, &mut Vec::new())?;
        let Walk { mut columns, mut rows } = walk;
        for (name, path) in &self.columns {
            if columns.contains_key(name) {
                return Err(Error::input(format!("the rows have a column `{name}` already"))
                    .help("give the column another name under `read.columns` in the dataset's card"));
            }
            let steps = self::steps(path)?;
            for row in &mut rows {
                let value = look_up(&root, &steps, |name| {
                    let column = columns.get(name).copied()?;
                    row.values.get(column)?.as_deref()
                });
                row.values.resize(columns.len(), None);
                row.values.push(value);
            }
            columns.insert(name.clone(), columns.len());
        }
        rows.iter_mut().for_each(|row| row.values.resize(columns.len(), None));
        Ok(Records { columns: columns.into_keys().collect(), rows })
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        match steps(&self.rows) {
            Ok(steps) if steps.iter().any(|s| matches!(s, Step::Named(_))) => {}
            Ok(_) => found.push(
                Problem::new("read.rows", format!("`{}` leads to one value and not to rows", self.rows))
                    .help("say over which lists or tables the rows go, such as `{dialogue}.{turn}`"),
            ),
            Err(e) => found.push(Problem::new("read.rows", e.message)),
        }
        for (name, path) in &self.columns {
            if let Err(e) = steps(path) {
                found.push(Problem::new(format!("read.columns.{name}"), e.message));
            }
        }
        found
    }
}

/// What the parser says, with the place in front as everywhere.
fn damaged(e: &serde_json::Error) -> Error {
    let text = e.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    Error::input(format!("line {}, column {}: {what}", e.line(), e.column()))
        .help("the file is no sound JSON: was it cut short or edited?")
}

struct Walk {
    /// Name and position.
    columns: IndexMap<String, usize>,
    /// Values by position; missing ones at the end are left out until all columns are known.
    rows: Vec<Record>,
}

impl Walk {
    fn column(&mut self, name: &str) -> usize {
        let next = self.columns.len();
        *self.columns.entry(name.to_owned()).or_insert(next)
    }

    fn descend(&mut self, at: &Value, steps: &[Step], members: &mut Vec<(String, String)>) -> Result<()> {
        let place = Place::Members(members.clone());
        let Some((step, rest)) = steps.split_first() else {
            return match at {
                Value::Object(row) => self.row(row, place),
                other => Err(Error::input(format!("{} where a row (a table) should be", kind(other)))
                    .help(PATH_HELP)
                    .at(place)),
            };
        };
        match (step, at) {
            (Step::Key(key), Value::Object(table)) => match table.get(*key) {
                Some(inner) => self.descend(inner, rest, members),
                None => {
                    let have: Vec<_> = table.keys().map(String::as_str).take(8).collect();
                    Err(Error::input(format!("there is no `{key}`; there is: {}", have.join(", ")))
                        .help(PATH_HELP)
                        .at(place))
                }
            },
            (Step::Named(name), Value::Array(list)) => {
                list.iter().enumerate().try_for_each(|(i, inner)| self.member(name, i + 1, inner, rest, members))
            }
            (Step::Named(name), Value::Object(table)) => {
                table.iter().try_for_each(|(key, inner)| self.member(name, key, inner, rest, members))
            }
            (Step::Key(name) | Step::Named(name), other) => {
                Err(Error::input(format!("{} where `{name}` should be looked for", kind(other)))
                    .help(PATH_HELP)
                    .at(place))
            }
        }
    }

    fn member(
        &mut self,
        name: &str,
        member: impl ToString,
        inner: &Value,
        rest: &[Step],
        members: &mut Vec<(String, String)>,
    ) -> Result<()> {
        members.push((name.to_owned(), member.to_string()));
        self.descend(inner, rest, members)?;
        members.pop();
        Ok(())
    }

    fn row(&mut self, row: &Map<String, Value>, place: Place) -> Result<()> {
        let mut values = Vec::with_capacity(self.columns.len());
        if let Place::Members(members) = &place {
            values.extend(members.iter().map(|(_, member)| Some(member.clone())));
        }
        let levels = values.len();
        let mut cells = Vec::new();
        flatten("", row, &mut cells);
        for (name, value) in cells {
            let column = self.column(&name);
            if column < levels {
                return Err(Error::input(format!("the rows have a column `{name}` of their own"))
                    .help("give that part of `read.rows` in the dataset's card another name")
                    .at(place));
            }
            if values.len() <= column {
                values.resize(column + 1, None);
            }
            values[column] = value;
        }
        self.rows.push(Record { place, values });
        Ok(())
    }
}

const PATH_HELP: &str = "check `read.rows` in the dataset's card against the file";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn flatten(prefix: &str, table: &Map<String, Value>, into: &mut Vec<(String, Option<String>)>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => flatten(&name, inner, into),
            other => into.push((name, scalar(other))),
        }
    }
}

/// A value as text; a list as JSON.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn look_up<'a>(root: &Value, steps: &[Step], column: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let found = steps.iter().try_fold(root, |at, step| {
        let key = match step {
            Step::Key(key) => key,
            Step::Named(name) => column(name)?,
        };
        match at {
            Value::Object(table) => table.get(key),
            Value::Array(list) => list.get(key.parse::<usize>().ok()?.checked_sub(1)?),
            _ => None,
        }
    });
    scalar(found?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(rows: &str) -> Json {
        Json { rows: rows.to_owned(), columns: BTreeMap::new() }
    }

    fn values(records: &Records) -> Vec<Vec<Option<&str>>> {
        records.rows.iter().map(|r| r.values.iter().map(Option::as_deref).collect()).collect()
    }

    const LISTS: &str =
        r#"[[{"who": "Ann", "says": "Hi", "n": 1}, {"says": "Yes"}], [], [{"who": null, "says": "No"}]]"#;

    #[test]
    fn lists_of_lists_are_numbered_from_one() {
        let records = json("{dialogue}.{turn}").read(LISTS).unwrap();
        assert_eq!(records.columns, ["dialogue", "turn", "who", "says", "n"]);
        assert_eq!(
            values(&records),
            [
                [Some("1"), Some("1"), Some("Ann"), Some("Hi"), Some("1")],
                [Some("1"), Some("2"), None, Some("Yes"), None],
                [Some("3"), Some("1"), None, Some("No"), None],
            ]
        );
        assert_eq!(records.rows[2].place.to_string(), "dialogue 3, turn 1");
        assert_eq!(records.rows[2].place.id(), "3/1");
    }

    const NESTED: &str = r#"{"s": {"s_1": {"Who": {"A": {"Name": "Li"}}, "Lines": {
        "u1": {"By": "A", "Label": {"main": "Sad", "all": ["Sad", "Fear"]}}, "u2": {"By": "?", "Label": {"main": "Joy"}}}}}}"#;

    #[test]
    fn tables_are_walked_by_key_flattened_and_looked_up_in() {
        let mut reader = json("{series}.{scene}.Lines.{line}");
        reader.columns.insert("name".into(), "{series}.{scene}.Who.{By}.Name".into());
        let records = reader.read(NESTED).unwrap();
        assert_eq!(records.columns, ["series", "scene", "line", "By", "Label.main", "Label.all", "name"]);
        let [first, second] = values(&records).try_into().unwrap();
        assert_eq!(first[2..], [Some("u1"), Some("A"), Some("Sad"), Some("[\"Sad\",\"Fear\"]"), Some("Li")]);
        assert_eq!(second[2..], [Some("u2"), Some("?"), Some("Joy"), None, None]);
    }

    #[test]
    fn what_does_not_fit_is_placed() {
        let message = |reader: Json, text: &str| {
            let e = reader.read(text).unwrap_err();
            assert!(e.help.is_some(), "{e}");
            e.message
        };
        assert_eq!(
            message(json("{d}.{t}"), "[[{\"says\": \"Hi\"},\n  {\"says\": \"Ye"),
            "line 2, column 14: EOF while parsing a string"
        );
        assert_eq!(message(json("{d}.{t}"), "[[\n{\"a\" 1}]]"), "line 2, column 6: expected `:`");
        assert_eq!(
            message(json("{d}.{t}"), r#"[[{"a": "b"}, "c"]]"#),
            "d 1, t 2: a string where a row (a table) should be"
        );
        assert_eq!(message(json("{d}.{t}"), r#"[[], "x"]"#), "d 2: a string where `t` should be looked for");
        assert_eq!(message(json("{s}.{d}.Line.{t}"), NESTED), "s s, d s_1: there is no `Line`; there is: Who, Lines");
        assert_eq!(message(json("{who}.{t}"), LISTS), "who 1, t 1: the rows have a column `who` of their own");
        let mut twice = json("{d}.{t}");
        twice.columns.insert("says".into(), "{d}".into());
        assert_eq!(message(twice, LISTS), "the rows have a column `says` already");
    }

    #[test]
    fn paths_that_lead_nowhere_are_found_in_the_card() {
        let message = |rows: &str| json(rows).problems().into_iter().map(|p| p.message).collect::<String>();
        assert_eq!(message("{d}.{t}"), "");
        assert!(message("a.b").contains("one value and not to rows"));
        for bad in ["", "{}", "a..{b}", "{a", "{a}}.b"] {
            assert!(message(bad).contains("no path of keys"), "{bad}");
        }
    }
}
