//! What stage kinds look up in the specification.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    base::error::Error,
    config::{self, Diagnostic, Span},
    engine::ResolveContext,
};

/// The definition `[kind.name]`, which the stage's key `kind` names.
pub(super) fn definition<T: DeserializeOwned>(
    cx: &ResolveContext,
    kind: &str,
    name: &str,
) -> Result<T, Vec<Diagnostic>> {
    definition_at(cx, kind, name, span(cx, kind))
}

/// The definition `[kind.name]`, which is named at `span`.
pub(super) fn definition_at<T: DeserializeOwned>(
    cx: &ResolveContext,
    kind: &str,
    name: &str,
    span: Option<Span>,
) -> Result<T, Vec<Diagnostic>> {
    config::from_node(cx.spec.definition(kind, name, span).map_err(|d| vec![d])?)
}

/// Where the stage's key `key` has its value.
pub(super) fn span(cx: &ResolveContext, key: &str) -> Option<Span> {
    cx.action.params.get(key).map(|n| n.span)
}

/// Both, or what is wrong with both.
pub(super) fn both<A, B>(
    a: Result<A, Vec<Diagnostic>>,
    b: Result<B, Vec<Diagnostic>>,
) -> Result<(A, B), Vec<Diagnostic>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

/// What goes with an action beside its parameters.
pub(super) fn json(value: &impl Serialize) -> Result<serde_json::Value, Vec<Diagnostic>> {
    serde_json::to_value(value)
        .map_err(|e| vec![Diagnostic::new(format!("these parameters can't be written down: {e}"))])
}

/// An error of a lower layer about the definition `[kind.name]`, at its key that it concerns, whatever stage meets it first.
pub(super) fn diagnostic_at(cx: &ResolveContext, [kind, name, key]: [&str; 3], e: Error) -> Diagnostic {
    let definition = cx.spec.definition(kind, name, None).ok();
    let place = definition.map(|node| node.get(key).unwrap_or(node).span).or_else(|| span(cx, kind));
    Diagnostic { help: e.help, ..Diagnostic::new(e.message).at(place) }
}
