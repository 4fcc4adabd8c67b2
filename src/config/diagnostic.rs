//! What is wrong with a pipeline file, where, and what to do.

use std::{
    collections::HashSet,
    fmt::{self, Display, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::{Node, Span, Value};
use crate::base::{
    secrets::masked,
    visible::{visible, visible_line},
};

/// Problems that are kept; whoever has more mends these first.
pub(super) const MOST: usize = 100;

/// Bytes that the values of all actions may take together, each value counting [`NODE`] bytes and its text.
const MOST_BYTES: usize = 256 << 20;

/// What a value takes beside its text, roughly.
pub(super) const NODE: usize = 64;

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

/// Collects diagnostics, each once, and bounds what a file can make of itself.
#[derive(Default)]
pub(super) struct Sink {
    found: Vec<Diagnostic>,
    seen: HashSet<(String, Option<Span>)>,
    /// Problems beyond those that are kept.
    more: usize,
    /// Bytes of the values that were made so far.
    made: usize,
}

impl Sink {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.more += 1;
        } else if self.seen.insert((diagnostic.message.clone(), diagnostic.span)) {
            self.found.push(diagnostic);
        }
    }

    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|d| self.push(d));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there are more problems than anyone mends at once: what only finds further ones can be left out.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// Notes that a copy of `node` is made; whether there is room for it. A file whose values multiply is told so once.
    pub fn make(&mut self, node: &Node) -> bool {
        self.make_bytes(size(node), node.span)
    }

    /// As [`Self::make`], for so many bytes of text at `span`.
    pub fn make_bytes(&mut self, bytes: usize, span: Span) -> bool {
        if self.made > MOST_BYTES {
            return false;
        }
        self.made = self.made.saturating_add(bytes);
        if self.made > MOST_BYTES {
            self.push(
                Diagnostic::new(format!(
                    "with all names filled in, this pipeline is larger than {} MiB",
                    MOST_BYTES >> 20
                ))
                .at(span)
                .label("the limit is reached here")
                .help("put long texts into files, list fewer values in matrices, or name a value fewer times"),
            );
        }
        self.made <= MOST_BYTES
    }

    /// All of them: those without a place first, then by place; and how many there are beside.
    pub fn finish(mut self) -> (Vec<Diagnostic>, usize) {
        self.found.sort_by_key(|d| d.span.map(|s| (s.file, s.start)));
        (self.found, self.more)
    }
}

fn size(node: &Node) -> usize {
    NODE + match &node.value {
        Value::Str(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Table(table) => table.iter().map(|(key, (_, child))| NODE + key.len() + size(child)).sum(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    }
}

/// All diagnostics with their source lines, without colour. Control characters of whatever they quote are escaped.
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
            let _ = writeln!(text, "{report}");
        }
    }
    text
}

/// A diagnostic in miette's terms, safe to show.
#[derive(Debug)]
struct Report {
    diagnostic: Diagnostic,
    source: Option<NamedSource<String>>,
    /// First byte and length in the source.
    label: (usize, usize),
}

impl Report {
    fn new(of: &Diagnostic, sources: &SourceMap) -> Self {
        let diagnostic = Diagnostic {
            message: visible(&of.message).into_owned(),
            label: of.label.as_deref().map(|label| visible_line(label).into_owned()),
            span: of.span,
            help: of.help.as_deref().map(|help| visible(help).into_owned()),
        };
        let place = of.span.and_then(|span| Some((span, sources.files.get(span.file as usize)?)));
        let Some((span, (path, text))) = place else { return Self { diagnostic, source: None, label: (0, 0) } };
        let excerpt = Excerpt::of(text, span);
        let name = visible_line(&shown(path).display().to_string()).into_owned();
        Self { diagnostic, label: excerpt.label, source: Some(NamedSource::new(name, excerpt.text)) }
    }
}

/// A file's text as it is shown around a span.
struct Excerpt {
    text: String,
    /// First byte and length in `text`.
    label: (usize, usize),
}

impl Excerpt {
    /// Lines before and behind the span that may be looked at.
    const AROUND: usize = 3;
    /// Longer lines aren't for people.
    const WIDEST: usize = 400;

    /// The text up to a little behind the span, so that lines keep their numbers. Of what lies further before only the line
    /// ends stay.
    fn of(text: &str, span: Span) -> Self {
        let whole = |i: u32| (0..=(i as usize).min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let (start, end) = (whole(span.start), whole(span.end).max(whole(span.start)));
        let mut lines_before = text[..start].rmatch_indices('\n').map(|(i, _)| i + 1);
        let from = lines_before.nth(Self::AROUND - 1).unwrap_or(0);
        let from =
            (from.max(start.saturating_sub(Self::WIDEST))..=start).find(|i| text.is_char_boundary(*i)).unwrap_or(start);
        let end = (end.min(start + Self::WIDEST)..=end).find(|i| text.is_char_boundary(*i)).unwrap_or(end);
        let to = text[end..].match_indices('\n').map(|(i, _)| end + i).nth(Self::AROUND - 1).unwrap_or(text.len());
        let to = (end..=to.min(end + Self::WIDEST)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(end);
        let mut out = "\n".repeat(text[..from].matches('\n').count());
        out.push_str(&visible(&text[from..start]));
        let label = out.len();
        out.push_str(&visible(&text[start..end]));
        let length = out.len() - label;
        out.push_str(&visible(&text[end..to]));
        Self { text: out, label: (label, length) }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.diagnostic, f)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let (start, length) = self.label;
        Some(Box::new(std::iter::once(LabeledSpan::new(self.diagnostic.label.clone(), start, length))))
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
        let messages: Vec<_> = sink.finish().0.into_iter().map(|d| d.message).collect();
        assert_eq!(messages, ["c", "a", "b"]);
    }
}
