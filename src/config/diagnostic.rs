//! What is wrong with a pipeline file, where, and what to do.

use std::path::PathBuf;

use super::Span;

/// The texts of all files that were read, so that spans can be shown.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    pub files: Vec<(PathBuf, std::sync::Arc<str>)>,
}

#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub message: String,
    /// Shown under the span.
    pub label: Option<String>,
    pub span: Option<Span>,
    pub help: Option<String>,
}
