//! The definition tables of a file, by kind and name.

use indexmap::IndexMap;

use super::{
    kind_vocabulary::Vocabulary,
    node::{Node, Table, Value},
};

/// Definition tables by kind and name.
pub(super) type Definitions = IndexMap<String, IndexMap<String, Node>>;

/// Takes the definition tables out of the root: one for each kind of the vocabulary, in its order, and the `[params]`.
pub(super) fn take_definitions(root: &mut Table, vocabulary: &Vocabulary) -> (Definitions, Option<Node>) {
    let definitions = vocabulary.definitions.iter().map(|entry| {
        let table = match root.shift_remove(entry.name).map(|(_, node)| node.value) {
            Some(Value::Table(table)) => table,
            _ => Table::new(),
        };
        (entry.name.to_owned(), table.into_iter().map(|(name, (_, node))| (name, node)).collect())
    });
    let definitions = definitions.collect();
    (definitions, root.shift_remove("params").map(|(_, node)| node))
}
