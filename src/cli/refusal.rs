//! What is wrong with a pipeline, as people see it.

use std::path::Path;

use super::{command_result::Failure, terminal};
use crate::{
    base::visible::visible_line,
    config::{self, Diagnostic, SourceMap},
};

/// Diagnostics of a pipeline that are shown; the others may be gone when these are.
const SHOWN: usize = 20;

/// Diagnostics of a pipeline as the end of a command.
pub fn refused(found: &[Diagnostic], sources: &SourceMap, pipeline: &Path) -> Failure {
    refused_with_more(found, 0, sources, pipeline)
}

/// The first of these diagnostics and of `more`, rendered, and how many there are.
pub fn refused_with_more(found: &[Diagnostic], more: usize, sources: &SourceMap, pipeline: &Path) -> Failure {
    let shown = &found[..found.len().min(SHOWN)];
    let text = config::render_with(shown, sources, terminal::colours(&std::io::stderr()));
    let (all, file) = (found.len() + more, visible_line(&pipeline.display().to_string()).into_owned());
    let plural = if all == 1 { "" } else { "s" };
    // Where there are very many, not all are looked for.
    let at_least = if all < 100 { "" } else { "at least " };
    let last = match all - shown.len() {
        0 => format!("{all} problem{plural} in {file}"),
        rest => format!("{at_least}{all} problems in {file}: these are the first, and {rest} more aren't shown"),
    };
    Failure::Pipeline(format!("{text}\n{last}\n"))
}
