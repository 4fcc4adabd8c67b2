//! Paths through nested JSON, such as `{dialogue}.{turn}`.

use super::json_value::Value;
use crate::base::error::{Error, Result};

/// A part of a path.
pub(super) enum PathStep<'a> {
    Key(&'a str),
    /// All members, or the one that a column names.
    Named(&'a str),
}

/// The parts of a path between its dots.
///
/// # Errors
/// An empty part, or braces that enclose no name.
pub(super) fn steps(path: &str) -> Result<Vec<PathStep<'_>>> {
    path.split('.')
        .map(|part| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(PathStep::Named(name)),
            None if !part.is_empty() && !part.contains(['{', '}']) => Ok(PathStep::Key(part)),
            _ => Err(Error::input(format!("`{path}` is no path of keys and `{{NAME}}`s between dots"))),
        })
        .collect()
}

/// What lies at a path from `root`, as text; `column` gives what a column that the path names has.
pub(super) fn look_up<'r>(
    root: &Value,
    steps: &[PathStep],
    column: impl Fn(&str) -> Option<&'r str>,
) -> Option<String> {
    let found = steps.iter().try_fold(root, |at, step| {
        let key = match step {
            PathStep::Key(key) => key,
            PathStep::Named(name) => column(name)?,
        };
        match at {
            Value::Table(table) => table.get(key),
            Value::List(list) => list.get(key.parse::<usize>().ok()?.checked_sub(1)?),
            _ => None,
        }
    });
    found?.scalar()
}
