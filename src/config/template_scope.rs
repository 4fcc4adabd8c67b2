//! What names can mean in the strings of one stage.

use super::{
    definitions::Definitions,
    diagnostic::Diagnostic,
    diagnostic_sink::{MOST, Sink},
    matrix::Axis,
    node::{Node, Span},
    source_map::SourceMap,
    suggest::help_for,
};

/// What names can mean in the strings of one stage.
pub(super) struct Scope<'a> {
    pub axes: &'a [Axis],
    pub params: Option<&'a Node>,
    pub definitions: &'a Definitions,
    pub sources: &'a SourceMap,
}

/// What an axis puts into a string, by the index of the axis value.
pub(super) struct Hole<T> {
    /// Index of the axis.
    pub axis: usize,
    pub values: Vec<Result<T, Box<Diagnostic>>>,
}

impl<T> Hole<T> {
    pub fn value(&self, combination: &[usize], sink: &mut Sink) -> Option<&T> {
        match &self.values[combination[self.axis]] {
            Ok(value) => Some(value),
            Err(diagnostic) => {
                sink.push((**diagnostic).clone());
                None
            }
        }
    }
}

pub(super) enum Found<'a> {
    Param(&'a Node),
    Axis(Hole<Node>),
}

/// What a name in `${...}` stands for.
///
/// # Errors
/// A name that is no axis and no parameter, or a field that what it names doesn't have.
pub(super) fn lookup<'a>(name: &str, span: Span, scope: &Scope<'a>) -> Result<Found<'a>, Diagnostic> {
    let (first, rest) = match name.trim().split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name.trim(), None),
    };
    let place = || inner_span(&format!("${{{name}}}"), span, scope.sources);
    if let Some(axis) = scope.axes.iter().position(|axis| axis.name == first) {
        let values = &scope.axes[axis].values;
        let values = match rest {
            None => values.iter().map(|v| Ok(v.node.clone())).collect(),
            Some(field) => {
                let Some(definitions) = scope.definitions.get(first) else {
                    return Err(Diagnostic::new(format!("`{first}` is a plain axis, its values have no fields"))
                        .at(place())
                        .help(format!("write `${{{first}}}`")));
                };
                let mut failed = 0;
                values
                    .iter()
                    .map(|v| match definitions.get(&v.text) {
                        Some(_) if failed > MOST => Err(Box::new(Diagnostic::new(format!("no `{name}`")).at(span))),
                        Some(definition) => field_of(definition, field, &format!("{first}.{}", v.text), scope.sources)
                            .cloned()
                            .map_err(|d| {
                                failed += 1;
                                Box::new(d.at(place()))
                            }),
                        None => Err(Box::new(Diagnostic::new(format!("unknown {first} `{}`", v.text)).at(v.node.span))),
                    })
                    .collect()
            }
        };
        return Ok(Found::Axis(Hole { axis, values }));
    }
    if first == "params" {
        let (Some(params), Some(field)) = (scope.params, rest) else {
            return Err(Diagnostic::new(format!("`{name}` names no parameter"))
                .at(place())
                .help("parameters are the keys of the table `[params]`, named as `${params.key}`"));
        };
        return field_of(params, field, "params", scope.sources).map(Found::Param).map_err(|d| d.at(place()));
    }
    let mut known: Vec<_> = scope.axes.iter().map(|axis| axis.name.as_str()).collect();
    if scope.params.is_some() {
        known.push("params");
    }
    Err(Diagnostic::new(format!("`{name}` means nothing here"))
        .at(place())
        .label(format!("`{first}` is no axis of this stage's matrix"))
        .help(help_for(first, &known, "names")))
}

/// The value at a dotted path in `node`, which is called `name`.
fn field_of<'a>(node: &'a Node, path: &str, name: &str, sources: &SourceMap) -> Result<&'a Node, Diagnostic> {
    let mut here = node;
    let mut at = name.to_owned();
    for key in path.split('.') {
        let Some(table) = here.as_table() else {
            return Err(Diagnostic::new(format!("`{at}` is {}, so it has no `{key}`", here.kind_name())));
        };
        let Some((_, child)) = table.get(key) else {
            let known: Vec<_> = table.keys().map(String::as_str).collect();
            return Err(Diagnostic::new(format!("`{at}` has no key `{key}`")).help(format!(
                "{} (`{at}` is written at {})",
                help_for(key, &known, "keys"),
                sources.place(here.span)
            )));
        };
        here = child;
        at = format!("{at}.{key}");
    }
    Ok(here)
}

pub(super) fn not_scalar(name: &str, node: &Node, span: Span, scope: &Scope) -> Diagnostic {
    Diagnostic::new(format!("`{name}` is {}, which can't be part of a longer string", node.kind_name()))
        .at(inner_span(&format!("${{{name}}}"), span, scope.sources))
        .help("let it be the whole string, or name one of its fields")
}

/// The span of `part` inside of the string at `span`, where it occurs there once as it is.
pub(super) fn inner_span(part: &str, span: Span, sources: &SourceMap) -> Span {
    let found = sources.text(span).and_then(|raw| {
        let mut hits = raw.match_indices(part);
        hits.next().filter(|_| hits.next().is_none())
    });
    match found {
        Some((offset, _)) => {
            let start = span.start + offset as u32;
            Span { start, end: start + part.len() as u32, ..span }
        }
        None => span,
    }
}
