//! A TOML value tree in which every key and value knows where it was written.

use indexmap::IndexMap;

/// A byte range in one of the files of a [`super::SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub file: u32,
    pub start: u32,
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
