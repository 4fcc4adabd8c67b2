//! The kind `exec`.

use super::{
    exec_resolve, exec_run,
    exec_table::{ExecParams, ExecTable},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    engine::{Context, ResolveContext, Resolved, TypedStage},
};

/// Runs a command of the user's.
pub struct Exec;

impl TypedStage for Exec {
    const NAME: &'static str = "exec";
    const VERSION: u32 = 1;
    const EXECUTES: bool = true;
    type Table = ExecTable;
    type Params = ExecParams;

    fn resolve(cx: &ResolveContext, table: ExecTable) -> Result<Resolved<ExecParams>, Vec<Diagnostic>> {
        exec_resolve::resolve(cx, table)
    }

    fn outputs(params: &ExecParams) -> Option<Vec<String>> {
        Some(params.outputs.clone())
    }

    fn run(cx: &Context, params: ExecParams) -> Result<()> {
        exec_run::run(cx, &params)
    }
}
