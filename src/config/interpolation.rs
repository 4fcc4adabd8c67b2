//! Interpolation: `${axis}`, `${axis.field}` and `${params.name}` in the strings of a stage.
//!
//! A stage's values are compiled once; every action of its matrix then only picks, by the index of its axis values,
//! among what was looked up before. A string that is one `${...}` and nothing else takes the type and the span of what
//! it names; inside a longer string the text of a scalar is put. `$${` stands for `${`.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::{NODE, Sink},
    node::{Key, Node, Span, Table, Value},
    template_pieces::{Piece, pieces},
    template_scope::{Found, Hole, Scope, inner_span, lookup, not_scalar},
};

/// A value with holes.
pub(super) enum Template {
    Fixed(Node),
    Whole(Hole<Node>),
    Text(Vec<Part>, Span),
    Array(Vec<Template>, Span),
    Table(Vec<(String, Key, Template)>, Span),
    /// Already reported.
    Broken,
}

pub(super) enum Part {
    Text(String),
    Hole(Hole<String>),
}

impl Template {
    pub fn compile(node: &Node, scope: &Scope, sink: &mut Sink) -> Self {
        match &node.value {
            Value::Str(text) => Self::compile_text(text, node.span, scope, sink),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| Self::compile(item, scope, sink)).collect();
                if items.iter().any(|item| !matches!(item, Self::Fixed(_))) {
                    return Self::Array(items, node.span);
                }
                // Not the node as it is: a hole that no axis fills is filled by now.
                let fixed =
                    items.into_iter().filter_map(|item| if let Self::Fixed(node) = item { Some(node) } else { None });
                Self::Fixed(Node::new(node.span, Value::Array(fixed.collect())))
            }
            Value::Table(table) => {
                Self::compile_table(table.iter().map(|(k, (s, n))| (k, s, n)), node.span, scope, sink)
            }
            _ => Self::Fixed(node.clone()),
        }
    }

    pub fn compile_table<'a>(
        entries: impl Iterator<Item = (&'a String, &'a Key, &'a Node)>,
        span: Span,
        scope: &Scope,
        sink: &mut Sink,
    ) -> Self {
        let entries: Vec<_> =
            entries.map(|(name, key, node)| (name.clone(), *key, Self::compile(node, scope, sink))).collect();
        if entries.iter().any(|(_, _, entry)| !matches!(entry, Self::Fixed(_))) {
            return Self::Table(entries, span);
        }
        let table = entries.into_iter().filter_map(|(name, key, entry)| match entry {
            Self::Fixed(node) => Some((name, (key, node))),
            _ => None,
        });
        Self::Fixed(Node::new(span, Value::Table(table.collect())))
    }

    /// `span` is that of the string in which `text` stands.
    pub fn compile_text(text: &str, span: Span, scope: &Scope, sink: &mut Sink) -> Self {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(rest) => {
                sink.push(
                    Diagnostic::new("`${` without its `}`")
                        .at(inner_span(rest, span, scope.sources))
                        .help("write `${name}`, or `$${` for the characters `${`"),
                );
                return Self::Broken;
            }
        };
        if let [Piece::Name(name)] = pieces[..] {
            return match lookup(name, span, scope) {
                Ok(Found::Param(node)) if sink.make(node) => Self::Fixed(node.clone()),
                Ok(Found::Axis(hole)) if hole.values.iter().flatten().all(|node| sink.make(node)) => Self::Whole(hole),
                Ok(_) => Self::Broken,
                Err(diagnostic) => {
                    sink.push(diagnostic);
                    Self::Broken
                }
            };
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut broken = false;
        for piece in pieces {
            if sink.is_full() {
                broken = true;
                break;
            }
            let found = match piece {
                Piece::Text(text) => {
                    literal.push_str(text);
                    continue;
                }
                Piece::Name(name) => lookup(name, span, scope).and_then(|found| {
                    let insert = |node: &Node| node.scalar_text().ok_or_else(|| not_scalar(name, node, span, scope));
                    match found {
                        Found::Param(node) => insert(node).map(Part::Text),
                        Found::Axis(hole) => Ok(Part::Hole(Hole {
                            axis: hole.axis,
                            values: hole
                                .values
                                .into_iter()
                                .map(|v| v.and_then(|n| insert(&n).map_err(Box::new)))
                                .collect(),
                        })),
                    }
                }),
            };
            match found {
                Ok(Part::Text(text)) if sink.make_bytes(text.len(), span) => literal.push_str(&text),
                Ok(Part::Hole(hole))
                    if sink.make_bytes(hole.values.iter().flatten().map(|text| NODE + text.len()).sum(), span) =>
                {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Hole(hole));
                }
                Ok(_) => {
                    broken = true;
                    break;
                }
                Err(diagnostic) => {
                    sink.push(diagnostic);
                    broken = true;
                }
            }
        }
        match (broken, parts.is_empty()) {
            (true, _) => Self::Broken,
            (false, true) => Self::Fixed(Node::new(span, Value::Str(literal))),
            (false, false) => {
                parts.push(Part::Text(literal));
                Self::Text(parts, span)
            }
        }
    }

    /// The value for one combination of axis values; `None` after a problem, which is reported.
    pub fn fill(&self, combination: &[usize], sink: &mut Sink) -> Option<Node> {
        let (value, span) = match self {
            Self::Fixed(node) => return sink.make(node).then(|| node.clone()),
            Self::Whole(hole) => {
                let node = hole.value(combination, sink)?;
                return sink.make(node).then(|| node.clone());
            }
            Self::Text(parts, span) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(literal) => text.push_str(literal),
                        Part::Hole(hole) => text.push_str(hole.value(combination, sink)?),
                    }
                }
                if !sink.make_bytes(text.len(), *span) {
                    return None;
                }
                (Value::Str(text), span)
            }
            Self::Array(items, span) => {
                let mut filled = Vec::with_capacity(items.len());
                items.iter().for_each(|item| filled.extend(item.fill(combination, sink)));
                if filled.len() < items.len() {
                    return None;
                }
                (Value::Array(filled), span)
            }
            Self::Table(entries, span) => {
                let mut filled = Table::with_capacity(entries.len());
                for (name, key, entry) in entries {
                    // Also after a problem, so that every hole gets its say.
                    if let Some(node) = entry.fill(combination, sink) {
                        filled.insert(name.clone(), (*key, node));
                    }
                }
                if filled.len() < entries.len() {
                    return None;
                }
                (Value::Table(filled), span)
            }
            Self::Broken => return None,
        };
        Some(Node::new(*span, value))
    }

    /// As [`Self::fill`], for a place where a string is needed.
    pub fn fill_text(&self, combination: &[usize], what: &str, sink: &mut Sink) -> Option<String> {
        let node = self.fill(combination, sink)?;
        if let Value::Str(text) = node.value {
            return Some(text);
        }
        let text = node.scalar_text();
        if text.is_none() {
            sink.push(Diagnostic::new(format!("{what} must be a string, not {}", node.kind_name())).at(node.span));
        }
        text
    }

    /// Sets `used[axis]` for every axis that the value depends on.
    pub fn mark_axes(&self, used: &mut [bool]) {
        match self {
            Self::Fixed(_) | Self::Broken => {}
            Self::Whole(hole) => used[hole.axis] = true,
            Self::Text(parts, _) => {
                for part in parts {
                    if let Part::Hole(hole) = part {
                        used[hole.axis] = true;
                    }
                }
            }
            Self::Array(items, _) => items.iter().for_each(|item| item.mark_axes(used)),
            Self::Table(entries, _) => entries.iter().for_each(|(_, _, entry)| entry.mark_axes(used)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &str) -> String {
        pieces(text)
            .unwrap()
            .iter()
            .map(|p| match p {
                Piece::Text(t) => (*t).to_owned(),
                Piece::Name(n) => format!("<{n}>"),
            })
            .collect()
    }

    #[test]
    fn strings_are_cut_at_their_holes() {
        assert_eq!(joined("a${b}c${d.e}"), "a<b>c<d.e>");
        assert_eq!(pieces("${x}"), Ok(vec![Piece::Name("x")]));
        assert_eq!(joined("$${x} and $5 {y}"), "${x} and $5 {y}");
        assert_eq!(joined("$$${x}"), "$${x}");
        assert_eq!(pieces("a ${b"), Err("${b"));
        assert_eq!(pieces(""), Ok(vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn escaped_text_comes_back(text in "[a${}é ]{0,12}") {
            // `$$${` would read as an escape after a dollar sign, which is the same text.
            prop_assert_eq!(joined(&text.replace("${", "$${")), text);
        }
    }
}
