//! TOML text to [`Node`]s, with all of its syntax errors.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    diagnostic::Diagnostic,
    node::{Key, Node, Span, Table, Value},
};

/// Reads a whole file. Where it has errors, the table holds what could be read.
pub(super) fn parse_text(file: u32, text: &str) -> (Table, Vec<Diagnostic>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut diagnostics: Vec<_> = errors.iter().map(|e| syntax_error(file, text, e)).collect();
    let mut reader = Reader { file, offset: 0, diagnostics: &mut diagnostics };
    let table = reader.table(root.get_ref());
    (table, diagnostics)
}

/// Reads one value that stands at byte `offset` of `file`; `None` where the text isn't a TOML value.
pub(super) fn parse_value(file: u32, offset: usize, text: &str) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut diagnostics = Vec::new();
    let node = Reader { file, offset, diagnostics: &mut diagnostics }.node(&value)?;
    diagnostics.is_empty().then_some(node)
}

fn syntax_error(file: u32, text: &str, error: &toml::de::Error) -> Diagnostic {
    let range = error.span().unwrap_or(0..0);
    let span = Span { file, start: range.start as u32, end: range.end as u32 };
    if error.message().starts_with("duplicate key") {
        let name = text.get(range).unwrap_or_default();
        return Diagnostic::new(format!("`{name}` is defined twice"))
            .at(span)
            .label("defined again here")
            .help("keep one of the two; a table's keys can't be spread over two headers of the same name");
    }
    Diagnostic::new(format!("this isn't valid TOML: {}", error.message())).at(span)
}

struct Reader<'a> {
    file: u32,
    offset: usize,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span { file: self.file, start: (self.offset + range.start) as u32, end: (self.offset + range.end) as u32 }
    }

    fn table(&mut self, table: &DeTable) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        // The parser's map may sort its keys; the file's order is that of the spans.
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .filter_map(|(key, value)| {
                let node = self.node(value)?;
                Some((key.get_ref().to_string(), (Key { span: self.span(key.span()) }, node)))
            })
            .collect()
    }

    fn node(&mut self, value: &Spanned<DeValue>) -> Option<Node> {
        let span = self.span(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Str(text.to_string()),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => Value::Int(n),
                Err(_) => {
                    return self.refuse(span, "this whole number doesn't fit into 64 bits", "write it as a string");
                }
            },
            DeValue::Float(x) => match x.as_str().parse::<f64>() {
                Ok(x) if x.is_finite() => Value::Float(x),
                _ => return self.refuse(span, "numbers must be finite", "leave the key out or write a number"),
            },
            DeValue::Datetime(_) => {
                return self.refuse(
                    span,
                    "dates have no type of their own here",
                    "put it in quotes to make it a string",
                );
            }
            DeValue::Array(items) => Value::Array(items.iter().filter_map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Some(Node { span, value })
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) -> Option<Node> {
        self.diagnostics.push(Diagnostic::new(message).at(span).help(help));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::to_json;
    use super::*;

    #[test]
    fn spans_point_at_keys_and_values() {
        let text = "[b.c]\nx = 10\n[a]\ny = [1, 'two']\n";
        let (table, diagnostics) = parse_text(3, text);
        assert!(diagnostics.is_empty());
        assert_eq!(table.keys().collect::<Vec<_>>(), ["b", "a"]);
        let (_, b) = &table["b"];
        let (key, x) = &b.get("c").and_then(Node::as_table).unwrap()["x"];
        let slice = |s: Span| &text[s.start as usize..s.end as usize];
        assert_eq!((slice(key.span), slice(x.span), x.span.file), ("x", "10", 3));
        assert_eq!(slice(b.get("c").unwrap().span), "[b.c]");
        assert_eq!(slice(table["a"].1.get("y").and_then(Node::as_array).unwrap()[1].span), "'two'");
    }

    #[test]
    fn all_errors_of_a_file_are_found() {
        let (table, diagnostics) =
            parse_text(0, "a = \nb = 1\nb = 2\nc = 1979-05-27\nd = nan\ne = 99999999999999999999\nf = 7\n");
        let messages: Vec<_> = diagnostics.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(messages.len(), 5, "{messages:?}");
        assert!(messages[0].starts_with("this isn't valid TOML"), "{messages:?}");
        assert_eq!(messages[1], "`b` is defined twice");
        assert_eq!(table["f"].1.as_int(), Some(7));
    }

    #[test]
    fn single_values_take_an_offset() {
        let node = parse_value(1, 10, "[1, 2]").unwrap();
        assert_eq!(node.span, Span { file: 1, start: 10, end: 16 });
        assert_eq!(node.as_array().unwrap()[1].span, Span { file: 1, start: 14, end: 15 });
        assert!(parse_value(1, 0, "bf16").is_none());
    }

    #[test]
    fn values_are_found_by_path_and_become_json_in_file_order() {
        let (table, diagnostics) = parse_text(0, "z = 1\n[a]\nc = [true, 0.5]\nb.d = 'x'\n");
        assert!(diagnostics.is_empty());
        let node = Node::new(Span::default(), Value::Table(table));
        assert_eq!(node.get("a.b.d").and_then(Node::as_str), Some("x"));
        assert!(node.get("a.x").is_none() && node.get("z.y").is_none());
        assert_eq!(to_json(&node).to_string(), r#"{"z":1,"a":{"c":[true,0.5],"b":{"d":"x"}}}"#);
    }
}
