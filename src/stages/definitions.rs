//! What stage kinds look up in the specification.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::{self, Diagnostic},
    engine::ResolveContext,
};

/// The definition `[kind.name]`, which the stage's key `kind` names.
pub(super) fn definition<T: DeserializeOwned>(cx: &ResolveContext, kind: &str, name: &str) -> Result<T, Vec<Diagnostic>> {
    let known = cx.spec.definitions.get(kind);
    match known.and_then(|k| k.get(name)) {
        Some(node) => config::from_node(node),
        None => {
            let names: Vec<&str> = known.into_iter().flat_map(|k| k.keys()).map(String::as_str).collect();
            let near = names.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let help = match near {
                Some(near) => format!("did you mean `{near}`? there are: {}", names.join(", ")),
                None => format!("write a table `[{kind}.{name}]`"),
            };
            let span = cx.action.params.get(kind).map(|n| n.span);
            Err(vec![Diagnostic::new(format!("there is no {kind} `{name}`")).at(span).help(help)])
        }
    }
}

/// Both, or the problems of both.
pub(super) fn both<A, B>(a: Result<A, Vec<Diagnostic>>, b: Result<B, Vec<Diagnostic>>) -> Result<(A, B), Vec<Diagnostic>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

/// Parameters as they enter the key.
pub(super) fn json(params: &impl Serialize) -> Result<serde_json::Value, Vec<Diagnostic>> {
    serde_json::to_value(params).map_err(|e| vec![Diagnostic::new(format!("these parameters can't be written down: {e}"))])
}
