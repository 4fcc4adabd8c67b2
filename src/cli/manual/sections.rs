//! Which tables have sections of their own, and what these are called.

use super::{
    json_shape::{Shape, Table, Variant},
    type_words::{has_section, value},
};

/// Where a table lies.
#[derive(Clone)]
pub(super) struct Place {
    /// Dotted, such as `stages.NAME.tables`.
    path: String,
    /// Whether it is one of a list.
    listed: bool,
    /// The stage kind that it belongs to.
    kind: Option<String>,
}

impl Place {
    pub fn new(path: &str, kind: Option<&str>) -> Self {
        Self { path: path.to_owned(), listed: false, kind: kind.map(str::to_owned) }
    }

    pub fn heading(&self) -> String {
        let path = if self.listed { format!("`[[{}]]`", self.path) } else { format!("`[{}]`", self.path) };
        self.kind.as_ref().map_or_else(|| path.clone(), |kind| format!("{path} of `{kind}`"))
    }

    /// What the section of a group of keys is called: after the key that tells it from the others, or its own keys.
    pub fn variant_heading(&self, variant: &Variant) -> String {
        let names = || variant.table.keys.iter().filter(|key| key.required).map(|key| format!("`{}`", key.name));
        let with = match &variant.tag {
            Some((tag, tagged)) => value(tagged).replacen('`', &format!("`{tag} = "), 1),
            None => names().collect::<Vec<_>>().join(", "),
        };
        format!("{} with {with}", self.heading())
    }

    pub fn below(&self, key: &str) -> Self {
        Self { path: format!("{}.{key}", self.path), ..self.clone() }
    }

    /// The tables with sections inside a value that lies here, and where they lie themselves.
    pub fn tables_in<'a>(&self, shape: &'a Shape) -> Vec<(Self, &'a Table)> {
        match shape {
            Shape::Table(table) if has_section(table) => vec![(self.clone(), table)],
            Shape::List(items, _) => Self { listed: true, ..self.clone() }.tables_in(items),
            Shape::Map(values) => Self { listed: false, ..self.below("NAME") }.tables_in(values),
            Shape::Either(shapes) => shapes.iter().flat_map(|shape| self.tables_in(shape)).collect(),
            _ => Vec::new(),
        }
    }

    /// Where a key's value lies.
    pub fn of_key(&self, key: &str) -> Self {
        Self { listed: false, ..self.below(key) }
    }
}
