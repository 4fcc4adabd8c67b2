//! The tables that belong to the file as a whole: `[pipeline]` and the heads of `[profile.NAME]`.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    node::{Node, Span, Table, Value},
    spanned::Spanned,
    suggest::help_for,
};

/// What the pipeline is, where its results go, and what is wanted of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineTable {
    /// Name for reports and messages (default: the file's name).
    pub name: Option<String>,
    /// What it is about, in a sentence or two.
    pub description: Option<String>,
    /// Folder that `export` and the default store are relative to; itself relative to this file (default `"."`).
    pub root: Option<Spanned<String>>,
    /// Values of the axis `seed` (default `[0]`).
    #[expect(dead_code, reason = "read from the tree, but part of the shape")]
    pub seeds: Option<Vec<i64>>,
    /// Stages whose results are wanted; what they don't need isn't run (default: all).
    #[expect(dead_code, reason = "read from the tree, but part of the shape")]
    pub goals: Option<Vec<String>>,
    /// The profile that is used when none is asked for (default: none).
    #[expect(dead_code, reason = "read from the tree, but part of the shape")]
    pub default_profile: Option<String>,
}

/// Keys of a profile that say how it comes about; all others are tables to lay over the file.
pub const PROFILE_KEYS: [&str; 3] = ["description", "inherits", "include"];

/// Profiles of a circle that are spelled out.
const SHOWN: usize = 8;

/// The profile `name` and those that it inherits from, the innermost base first.
pub(super) fn lineage<'a>(
    profiles: Option<&'a Table>,
    name: &str,
    asked_at: Option<Span>,
    sink: &mut Sink,
) -> Vec<(&'a str, &'a Node)> {
    let known: Vec<_> = profiles.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
    let mut chain: Vec<(&str, &Node)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut wanted = (name.to_owned(), asked_at);
    loop {
        let (name, span) = &wanted;
        let Some((name, (_, node))) = profiles.and_then(|p| p.get_key_value(name)) else {
            sink.push(
                Diagnostic::new(format!("there is no profile `{name}`"))
                    .at(*span)
                    .help(help_for(name, &known, "profiles")),
            );
            break;
        };
        if let Some(from) = places.insert(name, chain.len()) {
            let mut circle: Vec<_> = chain[from..].iter().take(SHOWN).map(|(name, _)| *name).collect();
            if chain.len() - from > SHOWN {
                circle.push("...");
            }
            circle.push(name);
            sink.push(
                Diagnostic::new(format!("profiles inherit from each other: {}", circle.join(" -> ")))
                    .at(*span)
                    .help("take one `inherits` away"),
            );
            break;
        }
        chain.push((name, node));
        match node.get("inherits").map(|base| (base, &base.value)) {
            Some((base, Value::Str(text))) => wanted = (text.clone(), Some(base.span)),
            Some((base, _)) => {
                sink.push(
                    Diagnostic::new(format!("`inherits` must be a string, not {}", base.kind_name())).at(base.span),
                );
                break;
            }
            None => break,
        }
    }
    chain.reverse();
    chain
}
