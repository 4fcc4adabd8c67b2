//! JSON: rows at some depth of nested lists and tables, such as the utterances of dialogues.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    json_parser::parse,
    json_path::{PathStep, look_up, steps},
    json_value::{Table, Value},
    reader::Reader,
    records::{Place, Record, Records},
};
use crate::{
    base::error::{Error, Result},
    config::{Diagnostic, Node},
    data::diagnose::diagnostic,
};

/// Tables (objects) as rows; tables inside of a row give columns such as `emotion.main`. Values are kept as they are written,
/// so ids may have any number of digits. A file of JSON Lines is the list of its values, so that `{row}` leads to its rows.
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

impl Reader for Json {
    fn read(&self, name: &str, text: &str) -> Result<Records> {
        let root = parse(name, text)?;
        let path = steps(&self.rows)?;
        let mut walk = Walk { columns: IndexMap::new(), rows: Vec::new() };
        for step in &path {
            if let PathStep::Named(name) = step {
                walk.columns.insert((*name).to_owned(), name.to_string());
            }
        }
        walk.descend(&root, &path, &mut Vec::new())?;
        let Walk { mut columns, mut rows } = walk;
        for (name, path) in &self.columns {
            if columns.contains_key(name) {
                return Err(Error::input(format!("the rows have a column `{name}` already"))
                    .help("give the column another name under `read.columns` in the dataset's card"));
            }
            let steps = steps(path)?;
            for row in &mut rows {
                let value = look_up(&root, &steps, |name| row.get(columns.get_index_of(name)?));
                row.add(columns.len(), value);
            }
            columns.insert(name.clone(), String::new());
        }
        Ok(Records { columns: columns.into_keys().collect(), rows })
    }

    fn diagnostics(&self, table: &Node) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        match steps(&self.rows) {
            Ok(steps) if steps.iter().any(|s| matches!(s, PathStep::Named(_))) => {}
            Ok(_) => found.push(
                diagnostic(table, ["rows"], format!("`{}` leads to one value and not to rows", self.rows))
                    .help("say over which lists or tables the rows go, such as `{dialogue}.{turn}`"),
            ),
            Err(e) => found.push(diagnostic(table, ["rows"], e.message)),
        }
        for (name, path) in &self.columns {
            if let Err(e) = steps(path) {
                found.push(diagnostic(table, ["columns", name], e.message));
            }
        }
        found
    }
}

struct Walk {
    /// Name, and the keys that lead to it from the row's table.
    columns: IndexMap<String, String>,
    rows: Vec<Record>,
}

impl Walk {
    fn descend(&mut self, at: &Value, steps: &[PathStep], members: &mut Vec<(String, String)>) -> Result<()> {
        let place = Place::Members(members.clone());
        let Some((step, rest)) = steps.split_first() else {
            return match at {
                Value::Table(row) => self.row(row, place),
                other => Err(Error::input(format!("{} where a row (a table) should be", other.kind()))
                    .help(PATH_HELP)
                    .at(place)),
            };
        };
        match (step, at) {
            (PathStep::Key(key), Value::Table(table)) => match table.get(*key) {
                Some(inner) => self.descend(inner, rest, members),
                None => {
                    let have: Vec<&str> = table.keys().map(AsRef::as_ref).take(8).collect();
                    Err(Error::input(format!("there is no `{key}`; there is: {}", have.join(", ")))
                        .help(PATH_HELP)
                        .at(place))
                }
            },
            (PathStep::Named(name), Value::List(list)) => {
                list.iter().enumerate().try_for_each(|(i, inner)| self.member(name, i + 1, inner, rest, members))
            }
            (PathStep::Named(name), Value::Table(table)) => {
                table.iter().try_for_each(|(key, inner)| self.member(name, key, inner, rest, members))
            }
            (PathStep::Key(name) | PathStep::Named(name), other) => {
                Err(Error::input(format!("{} where `{name}` should be looked for", other.kind()))
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
        rest: &[PathStep],
        members: &mut Vec<(String, String)>,
    ) -> Result<()> {
        members.push((name.to_owned(), member.to_string()));
        self.descend(inner, rest, members)?;
        members.pop();
        Ok(())
    }

    fn row(&mut self, row: &Table, place: Place) -> Result<()> {
        let Place::Members(members) = &place else { return Err(Error::internal("a row of JSON has members")) };
        let mut record = Record::full(place.clone(), members.iter().map(|(_, member)| member.clone()));
        let levels = members.len();
        let mut cells = Vec::new();
        flatten(&mut Vec::new(), row, &mut cells);
        for (keys, value) in cells {
            let (name, path) = (keys.join("."), keys.join("\0"));
            let (column, known) = match self.columns.get_full(&name) {
                Some((column, _, known)) => (column, known.clone()),
                None => (self.columns.insert_full(name.clone(), path.clone()).0, path.clone()),
            };
            if column < levels {
                return Err(Error::input(format!("the rows have a column `{name}` of their own"))
                    .help("give that part of `read.rows` in the dataset's card another name")
                    .at(place));
            }
            if known != path {
                return Err(Error::input(format!(
                    "the column `{name}` is a key with a dot, and also a key in a table"
                ))
                .help("rename one of them in the file")
                .at(place));
            }
            record.add(column, value.scalar());
        }
        self.rows.push(record);
        Ok(())
    }
}

const PATH_HELP: &str = "check `read.rows` in the dataset's card against the file";

/// The values of a row and of the tables in it, with the keys that lead to each.
fn flatten<'v, 'a>(keys: &mut Vec<&'v str>, table: &'v Table<'a>, into: &mut Vec<(Vec<&'v str>, &'v Value<'a>)>) {
    for (key, value) in table {
        keys.push(key);
        match value {
            Value::Table(inner) => flatten(keys, inner, into),
            other => into.push((keys.clone(), other)),
        }
        keys.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::diagnose::nowhere;

    fn json(rows: &str) -> Json {
        Json { rows: rows.to_owned(), columns: BTreeMap::new() }
    }

    fn values(records: &Records) -> Vec<Vec<Option<&str>>> {
        let all = |row| (0..records.columns.len()).map(|column| Record::get(row, column)).collect();
        records.rows.iter().map(all).collect()
    }

    const LISTS: &str =
        r#"[[{"who": "Ann", "says": "Hi", "n": 1}, {"says": "Yes"}], [], [{"who": null, "says": "No"}]]"#;

    #[test]
    fn lists_of_lists_are_numbered_from_one() {
        let records = json("{dialogue}.{turn}").read("", LISTS).unwrap();
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
        let records = reader.read("", NESTED).unwrap();
        assert_eq!(records.columns, ["series", "scene", "line", "By", "Label.main", "Label.all", "name"]);
        let [first, second] = values(&records).try_into().unwrap();
        assert_eq!(first[2..], [Some("u1"), Some("A"), Some("Sad"), Some("[\"Sad\",\"Fear\"]"), Some("Li")]);
        assert_eq!(second[2..], [Some("u2"), Some("?"), Some("Joy"), None, None]);
    }

    #[test]
    fn what_does_not_fit_is_placed() {
        let message = |reader: Json, text: &str| {
            let e = reader.read("", text).unwrap_err();
            assert!(e.help.is_some(), "{e}");
            e.message
        };
        assert_eq!(
            message(json("{d}.{t}"), "[[{\"says\": \"Hi\"},\n  {\"says\": \"Ye"),
            "line 2, column 15: the file ends inside a string"
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
    fn json_lines_are_a_list_and_numbers_keep_their_digits() {
        let records = json("{row}").read("d.json", "{\"id\":36893488147419103233,\"n\":1.0}\n{\"id\":1e5}\n").unwrap();
        assert_eq!(records.columns, ["row", "id", "n"]);
        assert_eq!(
            values(&records),
            [[Some("1"), Some("36893488147419103233"), Some("1.0")], [Some("2"), Some("1e5"), None]]
        );
    }

    #[test]
    fn columns_that_fall_together_are_refused() {
        let message = |text: &str| json("{r}").read("", text).unwrap_err().message;
        let expected = "the column `a.b` is a key with a dot, and also a key in a table";
        assert_eq!(message(r#"[{"a": {"b": 1}, "a.b": 2}]"#), format!("r 1: {expected}"));
        assert_eq!(message(r#"[{"a.b": 2}, {"a": {"b": 1}}]"#), format!("r 2: {expected}"));
    }

    #[test]
    fn rows_with_keys_of_their_own_take_no_room_for_those_of_others() {
        let rows: Vec<_> = (0..20_000).map(|i| format!("{{\"k{i}\": {i}}}")).collect();
        let records = json("{r}").read("", &format!("[{}]", rows.join(","))).unwrap();
        assert_eq!(records.columns.len(), 20_001);
        assert_eq!((records.rows[9].get(10), records.rows[9].get(11)), (Some("9"), None));
    }

    #[test]
    fn paths_that_lead_nowhere_are_found_in_the_card() {
        let message =
            |rows: &str| json(rows).diagnostics(&nowhere()).into_iter().map(|p| p.message).collect::<String>();
        assert_eq!(message("{d}.{t}"), "");
        assert!(message("a.b").contains("one value and not to rows"));
        for bad in ["", "{}", "a..{b}", "{a", "{a}}.b"] {
            assert!(message(bad).contains("no path of keys"), "{bad}");
        }
    }
}
