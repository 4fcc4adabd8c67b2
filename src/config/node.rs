//! A TOML value tree in which every key and value knows where it was written.

use indexmap::IndexMap;

/// A byte range in one of the files of a `SourceMap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Index of the file in the `SourceMap`.
    pub file: u32,
    pub start: u32,
    /// Byte after the last one.
    pub end: u32,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub enum Value {
    Bool(bool),
    Int(i64),
    /// Always finite.
    Float(f64),
    Str(String),
    Array(Vec<Node>),
    Table(Table),
}

/// Keys in the order of the file.
pub type Table = IndexMap<String, (Key, Node)>;

/// Where a key was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub span: Span,
}

impl Node {
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value }
    }

    /// The value at a dotted path of table keys: `node.get("optimiser.rate")`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.as_table()?.get(key).map(|(_, child)| child))
    }

    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(n) => Some(n),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// The text that a scalar has inside a longer string and in an action's name; `None` for lists and tables.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(n) => Some(n.to_string()),
            Value::Float(x) => Some(format!("{x:?}")),
            Value::Str(text) => Some(text.clone()),
            Value::Array(_) | Value::Table(_) => None,
        }
    }

    /// The kind of value with its article, for messages: `a string`.
    pub fn kind_name(&self) -> &'static str {
        match self.value {
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// The value without its spans; keys keep the order of the file.
pub fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Float(x) => Json::from(*x),
        Value::Str(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Table(table) => {
            Json::Object(table.iter().map(|(key, (_, child))| (key.clone(), to_json(child))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_point_in_text() {
        let text = |x| Node::new(Span::default(), Value::Float(x)).scalar_text();
        assert_eq!(text(1.0).as_deref(), Some("1.0"));
        assert_eq!(text(1e-5).as_deref(), Some("1e-5"));
    }
}
