//! Errors of reading a serde type from a tree: what serde complains of, and which value that is.

use std::{
    collections::HashSet,
    fmt::{self, Display},
};

use serde::de::{self, Unexpected};

use super::{
    diagnostic::Diagnostic,
    node::{Key, Node, Span, Value},
    suggest::help_for,
};

/// What went wrong, as serde tells it.
#[derive(Debug)]
pub(super) enum Cause {
    Custom(String),
    Type {
        leaf: Option<Leaf>,
        expected: String,
    },
    /// The type is right but the value isn't.
    Value {
        leaf: Option<Leaf>,
        expected: String,
    },
    Length {
        len: usize,
        expected: String,
    },
    Variant {
        word: String,
        known: &'static [&'static str],
    },
    Field {
        word: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Duplicate(&'static str),
}

/// The value that serde complains about: all there is to find it by after serde has buffered a table.
#[derive(Debug, PartialEq)]
pub(super) enum Leaf {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
}

impl Leaf {
    fn new(unexpected: &Unexpected) -> Option<Self> {
        match *unexpected {
            Unexpected::Bool(b) => Some(Self::Bool(b)),
            Unexpected::Signed(n) => Some(Self::Int(n)),
            Unexpected::Unsigned(n) => i64::try_from(n).ok().map(Self::Int),
            Unexpected::Float(x) => Some(Self::Float(x)),
            Unexpected::Str(text) => Some(Self::Str(text.to_owned())),
            _ => None,
        }
    }

    fn is(&self, node: &Node) -> bool {
        match (&node.value, self) {
            (Value::Bool(a), Self::Bool(b)) => a == b,
            (Value::Int(a), Self::Int(b)) => a == b,
            (Value::Float(a), Self::Float(b)) => a == b,
            (Value::Str(a), Self::Str(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Place<'a> {
    /// What to leave out in order to find further problems.
    pub culprit: &'a Node,
    /// The table in which the problem is.
    pub table: &'a Node,
    pub span: Span,
    pub subject: String,
}

#[derive(Debug)]
pub(super) struct ReadError<'a> {
    pub cause: Cause,
    pub place: Option<Place<'a>>,
}

impl<'a> ReadError<'a> {
    /// Gives the error its place unless it has one already.
    pub fn placed(mut self, node: &'a Node, subject: impl Fn() -> String) -> Self {
        if self.place.is_some() {
            return self;
        }
        let here = || Place { culprit: node, table: node, span: node.span, subject: subject() };
        let found = match &self.cause {
            Cause::Field { word, .. } => only(node, &|name, _| name == Some(word)),
            Cause::Type { leaf: Some(leaf), .. } | Cause::Value { leaf: Some(leaf), .. } => {
                only(node, &|_, node| leaf.is(node))
            }
            Cause::Variant { word, .. } => only(node, &|_, node| node.as_str() == Some(word)),
            _ => None,
        };
        self.place = Some(match found {
            Some(Hit { node: found, name: Some((name, key)), table }) if !std::ptr::eq(found, node) => Place {
                culprit: found,
                table,
                span: if matches!(self.cause, Cause::Field { .. }) { key.span } else { found.span },
                subject: format!("`{name}`"),
            },
            _ => here(),
        });
        self
    }

    /// Whether the error is only there because something was left out before.
    pub fn follows_from(&self, omitted: &HashSet<*const Node>, meant: &HashSet<(*const Node, String)>) -> bool {
        let Some(place) = &self.place else { return false };
        match &self.cause {
            Cause::Missing(name) => {
                let left_out = place.culprit.as_table().and_then(|table| table.get(*name));
                left_out.is_some_and(|(_, node)| omitted.contains(&std::ptr::from_ref(node)))
                    || meant.contains(&(std::ptr::from_ref(place.culprit), (*name).to_owned()))
            }
            Cause::Custom(_) | Cause::Length { .. } => {
                any_inside(place.culprit, &|node| omitted.contains(&std::ptr::from_ref(node)))
            }
            _ => false,
        }
    }

    pub fn diagnostic(&self, place: &Place) -> Diagnostic {
        let subject = &place.subject;
        let diagnostic = match &self.cause {
            Cause::Custom(text) if text.starts_with("data did not match any variant") => {
                Diagnostic::new(format!("{subject} has none of the forms it can have"))
            }
            Cause::Custom(text) => Diagnostic::new(format!("{subject}: {text}")),
            Cause::Type { expected, .. } => {
                let found = place.culprit.kind_name();
                Diagnostic::new(format!("{subject} must be {}, not {found}", plain(expected))).label(found)
            }
            Cause::Value { expected, .. } => {
                let found = place.culprit.scalar_text().unwrap_or_else(|| place.culprit.kind_name().to_owned());
                Diagnostic::new(format!("{subject} must be {}, not `{found}`", plain(expected)))
            }
            Cause::Length { len, expected } => {
                Diagnostic::new(format!("{subject} must be {}, not of length {len}", plain(expected)))
            }
            Cause::Variant { word, known } => {
                Diagnostic::new(format!("`{word}` is no value of {subject}")).help(help_for(word, known, "values"))
            }
            Cause::Field { word, known } => {
                Diagnostic::new(format!("unknown key `{word}`")).help(help_for(word, known, "keys"))
            }
            Cause::Missing(name) => Diagnostic::new(format!("the key `{name}` is missing"))
                .label("in this table")
                .help(format!("add `{name} = ...`")),
            Cause::Duplicate(name) => Diagnostic::new(format!("`{name}` is given twice, under two of its names")),
        };
        diagnostic.at(place.span)
    }
}

impl de::Error for ReadError<'_> {
    fn custom<T: Display>(text: T) -> Self {
        Cause::Custom(text.to_string()).into()
    }

    fn invalid_type(found: Unexpected, expected: &dyn de::Expected) -> Self {
        Cause::Type { leaf: Leaf::new(&found), expected: expected.to_string() }.into()
    }

    fn invalid_value(found: Unexpected, expected: &dyn de::Expected) -> Self {
        Cause::Value { leaf: Leaf::new(&found), expected: expected.to_string() }.into()
    }

    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Self {
        Cause::Length { len, expected: expected.to_string() }.into()
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Cause::Variant { word: word.to_owned(), known }.into()
    }

    fn unknown_field(word: &str, known: &'static [&'static str]) -> Self {
        Cause::Field { word: word.to_owned(), known }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        Cause::Missing(name).into()
    }

    fn duplicate_field(name: &'static str) -> Self {
        Cause::Duplicate(name).into()
    }
}

impl From<Cause> for ReadError<'_> {
    fn from(cause: Cause) -> Self {
        Self { cause, place: None }
    }
}

impl Display for ReadError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cause)
    }
}

impl std::error::Error for ReadError<'_> {}

/// A node found in a tree.
struct Hit<'a> {
    node: &'a Node,
    name: Option<(&'a str, Key)>,
    table: &'a Node,
}

/// The only node of the tree that `wanted` accepts, given the key that holds it.
fn only<'a>(root: &'a Node, wanted: &dyn Fn(Option<&str>, &Node) -> bool) -> Option<Hit<'a>> {
    fn walk<'a>(hit: Hit<'a>, wanted: &dyn Fn(Option<&str>, &Node) -> bool, hits: &mut Vec<Hit<'a>>) {
        let Hit { node, name, .. } = hit;
        if wanted(name.map(|(name, _)| name), node) {
            hits.push(hit);
        }
        match &node.value {
            Value::Table(table) => table.iter().for_each(|(name, (key, child))| {
                walk(Hit { node: child, name: Some((name, *key)), table: node }, wanted, hits)
            }),
            Value::Array(items) => {
                items.iter().for_each(|child| walk(Hit { node: child, name, table: node }, wanted, hits))
            }
            _ => {}
        }
    }
    let mut hits = Vec::new();
    walk(Hit { node: root, name: None, table: root }, wanted, &mut hits);
    (hits.len() == 1).then(|| hits.remove(0))
}

fn any_inside(node: &Node, test: &dyn Fn(&Node) -> bool) -> bool {
    match &node.value {
        Value::Table(table) => table.values().any(|(_, child)| test(child) || any_inside(child, test)),
        Value::Array(items) => items.iter().any(|child| test(child) || any_inside(child, test)),
        _ => false,
    }
}

/// Serde's words for a type, in those of TOML's users.
fn plain(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a map" => "a table",
        "a sequence" => "a list",
        _ if expected.starts_with("a nonzero u") => "a whole number, 1 or more",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum") => "a table",
        _ if expected.starts_with("enum ") => "a string or a table",
        _ => expected,
    }
}
