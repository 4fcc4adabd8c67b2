//! The kind `tokenize`: prompts and answers of a task as token ids of a model.

use super::{
    tokenize_resolve, tokenize_run,
    tokenize_table::{TokenizeParams, TokenizeTable},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    data::{TOKENS_FILE, TOKENS_INFO_FILE},
    engine::{Context, ResolveContext, Resolved, TypedStage},
};

/// Writes the prompts of an `examples` input with the tokenizer and chat template of a `model` input.
pub struct Tokenize;

impl TypedStage for Tokenize {
    const NAME: &'static str = "tokenize";
    const VERSION: u32 = 3;
    type Table = TokenizeTable;
    type Params = TokenizeParams;

    fn resolve(cx: &ResolveContext, table: TokenizeTable) -> Result<Resolved<TokenizeParams>, Vec<Diagnostic>> {
        tokenize_resolve::resolve(cx, &table)
    }

    fn outputs(_: &TokenizeParams) -> Option<Vec<String>> {
        Some(vec![TOKENS_FILE.to_owned(), TOKENS_INFO_FILE.to_owned()])
    }

    fn run(cx: &Context, params: TokenizeParams) -> Result<()> {
        tokenize_run::run(cx, &params)
    }
}
