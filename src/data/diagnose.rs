//! Diagnostics for what is wrong with a definition although each of its values is well-formed.

use std::fmt::Display;

use crate::config::{Diagnostic, Node};

/// The deepest table or value of `node` that `keys` lead to.
pub(super) fn deepest<'n, 'k>(node: &'n Node, keys: impl IntoIterator<Item = &'k str>) -> &'n Node {
    let inner = |node: &'n Node, key: &str| Some(&node.as_table()?.get(key)?.1);
    keys.into_iter().try_fold(node, |node, key| inner(node, key).ok_or(node)).unwrap_or_else(|node| node)
}

/// What is wrong at the [`deepest`] place of the definition `node` that `keys` lead to.
pub(super) fn diagnostic<'k>(
    node: &Node,
    keys: impl IntoIterator<Item = &'k str>,
    message: impl Display,
) -> Diagnostic {
    Diagnostic::new(message).at(deepest(node, keys).span)
}

/// A definition that was written nowhere.
#[cfg(test)]
pub(super) fn nowhere() -> Node {
    Node::new(crate::config::Span::default(), crate::config::Value::Table(crate::config::Table::new()))
}
