//! The kind `prepare`: a dataset's files become the examples of a task.

use super::{
    prepare_resolve::{self, PrepareTable},
    prepare_run,
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    data::{EXAMPLES_FILE, PreparationSpec, Summary},
    engine::{Context, ResolveContext, Resolved, TypedStage},
};

/// The kind `prepare`. Its artifact holds the examples and a summary of all counts.
#[derive(Debug)]
pub struct Prepare;

impl TypedStage for Prepare {
    const NAME: &'static str = "prepare";
    const VERSION: u32 = 3;
    type Table = PrepareTable;
    type Params = PreparationSpec;

    fn resolve(cx: &ResolveContext, table: PrepareTable) -> Result<Resolved<PreparationSpec>, Vec<Diagnostic>> {
        prepare_resolve::resolve(cx, &table)
    }

    fn outputs(_: &PreparationSpec) -> Option<Vec<String>> {
        Some(vec![EXAMPLES_FILE.to_owned(), Summary::FILE.to_owned()])
    }

    fn run(cx: &Context, recipe: PreparationSpec) -> Result<()> {
        prepare_run::run(cx, &recipe)
    }
}
