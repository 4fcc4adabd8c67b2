//! Credentials that somebody wrote into a file, where they don't belong.

use super::{
    node::{Node, Value},
    source_map::SourceMap,
};

pub(super) const CREDENTIALS_HELP: &str = "delete it here, and set the service's environment variables (AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY); if the \
     file was ever shared, replace the credential too";

pub(super) fn names_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    ["secret", "token", "password", "credential", "access_key", "account_key", "api_key", "private_key", "sas"]
        .iter()
        .any(|word| key.contains(word))
}

/// User, password and query are how credentials travel in URLs.
pub(super) fn holds_credential(node: &Node) -> bool {
    match &node.value {
        Value::Str(text) => text.contains("://") && text.contains(['@', '?', '#']),
        Value::Array(items) => items.iter().any(holds_credential),
        Value::Table(table) => table.values().any(|(_, child)| holds_credential(child)),
        _ => false,
    }
}

pub(super) fn blot_out(node: &Node, sources: &mut SourceMap) {
    match &node.value {
        Value::Table(table) => table.values().for_each(|(_, child)| blot_out(child, sources)),
        Value::Array(items) => items.iter().for_each(|child| blot_out(child, sources)),
        _ => sources.blot_out(node.span),
    }
}
