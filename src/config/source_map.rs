//! The texts of all files that were read, so that spans can be shown.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::node::Span;

/// The texts of all files that were read, so that spans can be shown.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    pub files: Vec<(PathBuf, Arc<str>)>,
}

impl SourceMap {
    pub(super) fn add(&mut self, path: PathBuf, text: impl Into<Arc<str>>) -> u32 {
        self.files.push((path, text.into()));
        (self.files.len() - 1) as u32
    }

    /// The file that `span` lies in, as the user wrote it; `--set` for values of the command line.
    pub fn path(&self, span: Span) -> Option<&Path> {
        self.files.get(span.file as usize).map(|(path, _)| path.as_path())
    }

    /// The text that `span` covers.
    pub fn text(&self, span: Span) -> Option<&str> {
        self.files.get(span.file as usize)?.1.get(span.start as usize..span.end as usize)
    }

    /// Line and column of the beginning of `span`, both counted from 1; columns count characters.
    pub fn line_column(&self, span: Span) -> Option<(usize, usize)> {
        let before = self.files.get(span.file as usize)?.1.get(..span.start as usize)?;
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// `file:line:column`
    pub fn place(&self, span: Span) -> String {
        match (self.path(span), self.line_column(span)) {
            (Some(path), Some((line, column))) => format!("{}:{line}:{column}", shown(path).display()),
            (Some(path), None) => shown(path).display().to_string(),
            _ => "unknown place".to_owned(),
        }
    }

    /// Replaces what `span` covers by asterisks, byte for byte.
    pub fn blot_out(&mut self, span: Span) {
        let Some((_, text)) = self.files.get_mut(span.file as usize) else { return };
        let (start, end) = (span.start as usize, span.end as usize);
        if let (Some(before), Some(covered), Some(after)) = (text.get(..start), text.get(start..end), text.get(end..)) {
            // Line breaks stay, so that no other span changes its line.
            let stars: String = covered.bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
            *text = format!("{before}{stars}{after}").into();
        }
    }
}

/// `path`, relative to the working directory where it lies inside.
pub(super) fn shown(path: &Path) -> &Path {
    match std::env::current_dir() {
        Ok(cwd) => path.strip_prefix(cwd).unwrap_or(path),
        Err(_) => path,
    }
}
