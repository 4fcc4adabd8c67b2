//! The tables that a pipeline file can have at its top level.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    kind_vocabulary::Vocabulary,
    name_rules::{NAME_HELP, valid_name},
    node::{Key, Node, Table, Value},
    suggest::help_for,
};

/// The top-level tables that there can be.
pub(super) struct Layout<'a> {
    pub vocabulary: &'a Vocabulary,
    pub kinds: Vec<&'static str>,
}

/// Top-level tables besides those of definitions.
pub(super) const TABLES: [&str; 5] = ["pipeline", "axes", "params", "stages", "remote"];

impl<'a> Layout<'a> {
    pub fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, kinds: vocabulary.definitions.iter().map(|entry| entry.name).collect() }
    }

    /// Whether the table holds named things.
    pub fn is_named(&self, table: &str) -> bool {
        table == "stages" || self.kinds.contains(&table)
    }

    pub fn tables(&self) -> Vec<&'static str> {
        TABLES.into_iter().chain(self.kinds.iter().copied()).collect()
    }

    /// Takes out of `table` what can't stand there, and says so. `extra` are further keys, which are left alone.
    pub fn prune(&self, table: &mut Table, extra: &[&str], sink: &mut Sink) {
        let known: Vec<_> = self.tables().into_iter().chain(extra.iter().copied()).collect();
        table.retain(|name, (key, node)| {
            if extra.contains(&name.as_str()) {
                return true;
            }
            if !known.contains(&name.as_str()) {
                sink.push(
                    Diagnostic::new(format!("unknown table `{name}`"))
                        .at(key.span)
                        .help(help_for(name, &known, "tables")),
                );
                return false;
            }
            let span = node.span;
            match &mut node.value {
                Value::Table(entries) if self.is_named(name) => {
                    entries.retain(|entry, (key, node)| named_table(name, entry, key, node, sink));
                    true
                }
                Value::Table(_) => true,
                _ => {
                    sink.push(
                        Diagnostic::new(format!("`{name}` must be a table, not {}", node.kind_name())).at(span).help(
                            if self.is_named(name) {
                                format!("write `[{name}.NAME]`")
                            } else {
                                format!("write `[{name}]`")
                            },
                        ),
                    );
                    false
                }
            }
        });
    }
}

pub(super) fn named_table(table: &str, name: &str, key: &Key, node: &Node, sink: &mut Sink) -> bool {
    if node.as_table().is_none() {
        sink.push(
            Diagnostic::new(format!("`{table}.{name}` must be a table, not {}", node.kind_name()))
                .at(node.span)
                .help(format!("write `[{table}.{name}]`")),
        );
    } else if !valid_name(name) {
        sink.push(Diagnostic::new(format!("`{name}` can't be a name")).at(key.span).help(NAME_HELP));
    } else {
        return true;
    }
    false
}
