//! `--set table.key=value`: single values laid over everything else.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    merge::overlay,
    node::{Key, Node, Span, Table, Value},
    parse::parse_value,
    source_map::SourceMap,
    suggest::help_for,
    top_level::Layout,
};

/// Keys in a path of `--set`.
const DEEPEST: usize = 64;

/// Lays the values of `--set` over everything else.
pub(super) fn set(
    root: &mut Table,
    settings: &[(String, String)],
    layout: &Layout,
    sources: &mut SourceMap,
    sink: &mut Sink,
) {
    if settings.is_empty() {
        return;
    }
    let lines: Vec<_> = settings.iter().map(|(path, value)| format!("{path}={value}")).collect();
    let file = sources.add("--set".into(), lines.join("\n"));
    let mut start = 0;
    for ((path, value), line) in settings.iter().zip(&lines) {
        let key_span = Span { file, start: start as u32, end: (start + path.len()) as u32 };
        let value_start = start + path.len() + 1;
        let value_span = Span { file, start: value_start as u32, end: (start + line.len()) as u32 };
        start += line.len() + 1;
        let Ok(keys) = toml_edit::Key::parse(path) else {
            sink.push(
                Diagnostic::new(format!("`{path}` is no path of keys"))
                    .at(key_span)
                    .help("write `--set table.key=value`"),
            );
            continue;
        };
        let keys: Vec<_> = keys.iter().map(toml_edit::Key::get).collect();
        if keys.len() > DEEPEST {
            sink.push(Diagnostic::new(format!("a path of more than {DEEPEST} keys leads nowhere")).at(key_span));
            continue;
        }
        if let Err(diagnostic) = settable(root, &keys, layout) {
            sink.push(diagnostic.at(key_span));
            continue;
        }
        let node =
            parse_value(file, value_start, value).unwrap_or_else(|| Node::new(value_span, Value::Str(value.clone())));
        let wrap = |node: Node, key: &&str| {
            let entry = (Key { span: key_span }, node);
            Node::new(key_span, Value::Table(Table::from_iter([((*key).to_owned(), entry)])))
        };
        if let Value::Table(mut table) = keys.iter().rev().fold(node, wrap).value {
            layout.prune(&mut table, &[], sink);
            overlay(root, table);
        }
    }
}

/// Whether there is something at a path of `--set` that a value can change.
fn settable(root: &Table, keys: &[&str], layout: &Layout) -> Result<(), Diagnostic> {
    if keys == ["pipeline", "default_profile"] {
        return Err(Diagnostic::new("the profile is chosen before values are set").help("use `--profile NAME`"));
    }
    let (Some(table), Some(name)) = (keys.first(), keys.get(1)) else {
        return Err(Diagnostic::new("a path of at least two keys is needed").help("write `--set table.key=value`"));
    };
    let tables = layout.tables();
    if !tables.contains(table) {
        return Err(Diagnostic::new(format!("unknown table `{table}`")).help(help_for(table, &tables, "tables")));
    }
    if layout.is_named(table) {
        let entries = root.get(*table).and_then(|(_, node)| node.as_table());
        if !entries.is_some_and(|entries| entries.contains_key(*name)) {
            let known: Vec<_> = entries.into_iter().flat_map(|e| e.keys().map(String::as_str)).collect();
            return Err(Diagnostic::new(format!("there is no `{table}.{name}`")).help(help_for(name, &known, "names")));
        }
    }
    Ok(())
}
