//! The input `tokens` of a running action.

use crate::{
    base::error::Result,
    data::{TOKENS_FILE, TOKENS_INFO_FILE},
    engine::Artifact,
    packing::TokenSet,
};

/// What an artifact of `tokenize` holds.
///
/// # Errors
/// If it is no such artifact.
pub(super) fn read_tokens(tokens: &Artifact) -> Result<TokenSet> {
    TokenSet::read(tokens.file(TOKENS_FILE)?, tokens.file(TOKENS_INFO_FILE)?)
}
