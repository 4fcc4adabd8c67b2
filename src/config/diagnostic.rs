//! What is wrong with a pipeline file, where, and what to do.

use std::{
    collections::HashSet,
    fmt::{self, Display, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::Span;
use crate::secrets::masked;

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
}

/// `path`, relative to the working directory where it lies inside.
pub(super) fn shown(path: &Path) -> &Path {
    match std::env::current_dir() {
        Ok(cwd) => path.strip_prefix(cwd).unwrap_or(path),
        Err(_) => path,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub message: String,
    /// Shown under the span.
    pub label: Option<String>,
    pub span: Option<Span>,
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), label: None, span: None, help: None }
    }

    /// Where the problem is.
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// A few words that stand under the span.
    pub fn label(mut self, label: impl Display) -> Self {
        self.label = Some(label.to_string());
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Display) -> Self {
        self.help = Some(help.to_string());
        self
    }
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Collects diagnostics, each once.
#[derive(Default)]
pub(super) struct Sink {
    found: Vec<Diagnostic>,
    seen: HashSet<(String, Option<Span>)>,
}

impl Sink {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.seen.insert((diagnostic.message.clone(), diagnostic.span)) {
            self.found.push(diagnostic);
        }
    }

    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|d| self.push(d));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them: those without a place first, then by place.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| d.span.map(|s| (s.file, s.start)));
        self.found
    }
}

/// All diagnostics with their source lines, without colour.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    render_with(diagnostics, sources, false)
}

/// As [`render`], in colour if `colour` is set.
pub fn render_with(diagnostics: &[Diagnostic], sources: &SourceMap, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120).without_syntax_highlighting();
    let mut text = String::new();
    // Excerpts hold whole lines, and with them what stands beside the problem.
    let texts = sources.files.iter().map(|(path, text)| (path.clone(), masked(text).into())).collect();
    let sources = &SourceMap { files: texts };
    for (i, diagnostic) in diagnostics.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let diagnostic = &Diagnostic {
            message: masked(&diagnostic.message),
            help: diagnostic.help.as_deref().map(masked),
            ..diagnostic.clone()
        };
        let report = Report::new(diagnostic, sources);
        if handler.render_report(&mut text, &report).is_err() {
            // Only a span outside of its text can fail; the message still has to reach the user.
            let _ = writeln!(text, "{diagnostic}");
        }
    }
    text
}

/// A diagnostic in miette's terms.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<NamedSource<Arc<str>>>,
}

impl<'a> Report<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &SourceMap) -> Self {
        let source = diagnostic
            .span
            .and_then(|span| sources.files.get(span.file as usize))
            .map(|(path, text)| NamedSource::new(shown(path).display().to_string(), text.clone()));
        Self { diagnostic, source }
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self.diagnostic, f)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let span = self.diagnostic.span?;
        let label =
            LabeledSpan::new(self.diagnostic.label.clone(), span.start as usize, (span.end - span.start) as usize);
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> SourceMap {
        let mut sources = SourceMap::default();
        sources.add("a.toml".into(), "# é\nrank = \"x\"\n");
        sources
    }

    #[test]
    fn a_diagnostic_shows_place_excerpt_label_and_help() {
        let span = Span { file: 0, start: 12, end: 15 };
        let found = [Diagnostic::new("`rank` must be a whole number").at(span).label("a string").help("write 8")];
        insta::assert_snapshot!(render(&found, &sources()), @r#"
          × `rank` must be a whole number
           ╭─[a.toml:2:8]
         1 │ # é
         2 │ rank = "x"
           ·        ─┬─
           ·         ╰── a string
           ╰────
          help: write 8
        "#);
        assert!(!render(&found, &sources()).contains('\u{1b}'));
        assert!(render_with(&found, &sources(), true).contains('\u{1b}'));
        assert_eq!(sources().place(span), "a.toml:2:8");
    }

    #[test]
    fn credentials_beside_a_problem_are_not_shown() {
        let mut sources = SourceMap::default();
        sources.add("a.toml".into(), "x = { url = \"http://bob:pa55@h/?sig=t0ken\", siz = 1 }\n");
        let found = [Diagnostic::new("`http://bob:pa55@h` and `siz`").at(Span { file: 0, start: 44, end: 47 })];
        let text = render(&found, &sources);
        assert!(!text.contains("pa55") && !text.contains("t0ken") && text.contains("siz = 1"), "{text}");
    }

    #[test]
    fn a_span_outside_of_its_text_still_shows_the_message() {
        let found = [Diagnostic::new("odd").at(Span { file: 0, start: 900, end: 901 })];
        assert!(render(&found, &sources()).contains("odd"));
        let found = [Diagnostic::new("odd").at(Span { file: 9, start: 0, end: 1 })];
        assert!(render(&found, &sources()).contains("odd"));
    }

    #[test]
    fn the_sink_keeps_each_problem_once_and_in_order() {
        let mut sink = Sink::default();
        let at = |start| Span { file: 0, start, end: start };
        sink.extend([Diagnostic::new("b").at(at(5)), Diagnostic::new("a").at(at(1)), Diagnostic::new("b").at(at(5))]);
        sink.push(Diagnostic::new("c"));
        let messages: Vec<_> = sink.finish().into_iter().map(|d| d.message).collect();
        assert_eq!(messages, ["c", "a", "b"]);
    }
}
