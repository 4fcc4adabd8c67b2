//! Diagnostics as people see them: message, excerpt of the file, help.

use std::fmt::{self, Display, Write as _};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use super::{
    diagnostic::Diagnostic,
    node::Span,
    source_map::{SourceMap, shown},
};
use crate::base::{
    secrets::masked,
    visible::{visible, visible_line},
};

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
}
