//! Stage tables: the common keys, the matrix, and one `ActionSpec` for each of its combinations.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    matrix::{Axis, Lists, combinations},
    node::{Node, Span, Table, Value},
};

/// Bytes that an action takes beside its values, roughly.
const ACTION: usize = 256;

/// A stage whose matrix is known, so that others can refer to its axes.
pub(super) struct Stage<'a> {
    pub name: &'a str,
    pub span: Span,
    pub table: &'a Table,
    pub axes: Vec<Axis>,
    /// Of each combination, the index of a value in every axis.
    pub combinations: Vec<Vec<usize>>,
}

impl<'a> Stage<'a> {
    pub fn new(name: &'a str, node: &'a Node, table: &'a Table, lists: &Lists, sink: &mut Sink) -> Self {
        let matrix = table.get("matrix").map(|(_, matrix)| matrix);
        let axes = match matrix.map(|node| (node, &node.value)) {
            None => Vec::new(),
            Some((_, Value::Table(matrix))) => lists.matrix(matrix, sink),
            Some((node, _)) => {
                sink.push(
                    Diagnostic::new(format!("`matrix` must be a table of axes, not {}", node.kind_name()))
                        .at(node.span)
                        .help("write `matrix = { task = \"all\" }`"),
                );
                Vec::new()
            }
        };
        let exclude = table.get("exclude").map(|(_, exclude)| exclude);
        let exclusions = exclude.map(|node| lists.exclusions(node, &axes, sink)).unwrap_or_default();
        let place = matrix.map_or(node.span, |m| m.span);
        let combinations = combinations(&axes, &exclusions).unwrap_or_else(|| {
            let sizes: Vec<_> = axes.iter().map(|axis| axis.values.len().to_string()).collect();
            sink.push(
                Diagnostic::new(format!("the matrix of `{name}` has more combinations than can be meant"))
                    .at(place)
                    .label(sizes.join(" x "))
                    .help("leave out an axis, or list fewer values"),
            );
            Vec::new()
        });
        if combinations.is_empty() && axes.iter().all(|axis| !axis.values.is_empty()) && !exclusions.is_empty() {
            sink.push(
                Diagnostic::new(format!("`exclude` drops every combination of the matrix of `{name}`"))
                    .at(exclude.map(|e| e.span))
                    .help("drop fewer, or leave the stage out"),
            );
        }
        // A stage that is too much for the rest of the pipeline has no actions; that has been said.
        let room = sink.make_bytes(combinations.len() * ACTION, place);
        let combinations = if room { combinations } else { Vec::new() };
        Self { name, span: node.span, table, axes, combinations }
    }

    pub fn axis_names(&self) -> Vec<&str> {
        self.axes.iter().map(|axis| axis.name.as_str()).collect()
    }
}
