//! What others wrote, made fit for one line of a table: titles, labels and licenses can't break what they stand in.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::base::{
    error::Result,
    visible::{visible, visible_line},
};

/// Keys whose texts are prose: Markdown that stands between tables and keeps its lines.
const PROSE: [&str; 5] = ["intro", "notes", "description", "scheme_note", "note"];

/// A copy of `value` in which the control characters of all texts are escaped; line ends and tabs, too, but for prose.
///
/// # Errors
/// If JSON doesn't give `value` back.
pub(super) fn on_lines<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let mut json = serde_json::to_value(value)?;
    each_text(&mut json, false);
    Ok(serde_json::from_value(json)?)
}

fn each_text(value: &mut Value, prose: bool) {
    match value {
        Value::String(text) => *text = if prose { visible(text) } else { visible_line(text) }.into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, prose)),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter().map(|(key, mut value)| {
                each_text(&mut value, prose || PROSE.contains(&key.as_str()));
                (visible_line(&key).into_owned(), value)
            });
            *map = entries.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A cell of a Markdown table: neither a column's end nor the beginning of markup.
pub(super) fn markdown_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let escaped = match c {
            '|' => true,
            '\\' => next == Some('|'),
            '<' => next.is_some_and(|n| n.is_ascii_alphabetic() || matches!(n, '/' | '!' | '?')),
            _ => false,
        };
        if escaped {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A cell of a CSV file. What a spreadsheet would take for a formula gets an apostrophe; numbers, and words after them as in
/// `-3 to 3`, stay as they are.
pub(super) fn csv_cell(text: String) -> String {
    let plain = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_alphanumeric() || " .".contains(c))
    };
    let number = text.parse::<f64>().is_ok() || text.strip_prefix(['+', '-']).is_some_and(plain);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !number { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_a_cell_or_begins_markup() {
        assert_eq!(markdown_cell("a|b"), r"a\|b");
        assert_eq!(markdown_cell(r"a\|b"), r"a\\\|b");
        assert_eq!(markdown_cell(r"a\n"), r"a\n");
        assert_eq!(markdown_cell("p < 0.001, <b>, <!-- -->"), r"p < 0.001, \<b>, \<!-- -->");
    }

    #[test]
    fn no_text_is_a_formula_and_numbers_stay() {
        for text in ["=1+1", "+cmd", "-x", "@sum", "-1+1", "-2 (3)", "\tx"] {
            assert_eq!(csv_cell(text.to_owned()), format!("'{text}"));
        }
        for text in ["-0.500000", "+1e5", "-3 to 3", "1", "NA", "a=b", "", "x@y"] {
            assert_eq!(csv_cell(text.to_owned()), text);
        }
    }

    #[test]
    fn texts_are_changed_wherever_they_stand() {
        let value = serde_json::json!({ "a\n": ["x\ty", 1.5, { "b": "\u{1b}[m" }], "notes": ["one\ntwo\u{1b}"] });
        let shown = serde_json::json!({ "a\\n": ["x\\ty", 1.5, { "b": "\\u{1b}[m" }], "notes": ["one\ntwo\\u{1b}"] });
        assert_eq!(on_lines(&value).unwrap(), shown);
    }
}
