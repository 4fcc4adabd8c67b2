//! Which files may say what is run. A file that is included brings definitions; what runs commands, and where results are sent,
//! is the pipeline's own business unless its `include` says otherwise.

use std::collections::HashSet;

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    kind_vocabulary::Entry,
    node::{Node, Span, Table, Value},
    source_map::SourceMap,
};

/// Reports what `root` says of stages and of the remote in files that may not. `trusted` are the numbers of those that may.
pub(super) fn report_untrusted(
    root: &Table,
    trusted: &HashSet<u32>,
    kinds: &[Entry],
    sources: &SourceMap,
    sink: &mut Sink,
) {
    let foreign = |span: Span| !trusted.contains(&span.file);
    let mut complain = |span: Span, message: String| {
        if sink.is_full() {
            return;
        }
        let name = sources.path(span).and_then(|path| path.file_name()).unwrap_or_default();
        sink.push(Diagnostic::new(message).at(span).label("in an included file").help(format!(
            "an included file brings definitions only; if you trust this one to say what is run, write \
             `include = [{{ path = \".../{}\", stages = true }}]`",
            name.to_string_lossy()
        )));
    };
    for (name, (key, stage)) in root.get("stages").and_then(|(_, node)| node.as_table()).into_iter().flatten() {
        let kind = stage.get("kind");
        let executes = |kind: &Node| kinds.iter().any(|k| k.executes && kind.as_str() == Some(k.name));
        if foreign(key.span) {
            complain(key.span, format!("an included file may not bring the stage `{name}`"));
        } else if let Some(kind) = kind.filter(|kind| foreign(kind.span)) {
            complain(kind.span, format!("an included file may not change the kind of the stage `{name}`"));
        } else if kind.is_some_and(executes)
            && let Some(span) = first(stage, &foreign)
        {
            complain(span, format!("an included file may not change the stage `{name}`, which runs commands"));
        }
    }
    if let Some((key, remote)) = root.get("remote")
        && let Some(span) = Some(key.span).filter(|span| foreign(*span)).or_else(|| first(remote, &foreign))
    {
        complain(span, "an included file may not say where results are shared".to_owned());
    }
}

/// The place of the first key or single value in `node` that `is` says yes to.
fn first(node: &Node, is: &dyn Fn(Span) -> bool) -> Option<Span> {
    match &node.value {
        Value::Table(table) => {
            table.values().find_map(|(key, child)| Some(key.span).filter(|span| is(*span)).or_else(|| first(child, is)))
        }
        Value::Array(items) if !is(node.span) => items.iter().find_map(|item| first(item, is)),
        _ => Some(node.span).filter(|span| is(*span)),
    }
}
