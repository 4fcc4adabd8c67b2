//! How the templates beside this file are read.

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig};

use crate::base::error::{Error, Result};

/// An environment in which a line with nothing but a tag leaves no trace, a missing value is an error, and templates whose
/// name ends in `.html` escape what they show.
pub(super) fn environment() -> Result<Environment<'static>> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(Error::internal)?;
    let mut env = Environment::new();
    env.set_syntax(syntax);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    Ok(env)
}
