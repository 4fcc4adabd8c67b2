//! Text from outside, made safe to show: control characters become what a programmer would write for them.

use std::borrow::Cow;

/// Characters that a terminal obeys instead of showing, or that show the text after them in another order.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// As `text`, with control characters escaped (`\u{1b}`). Its lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, |c| acts(c) && c != '\n' && c != '\t')
}

/// As [`visible`], on one line: line ends and tabs are escaped, too.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escape(text, acts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(visible("a\tb\nc é 情 👩‍🚀"), "a\tb\nc é 情 👩‍🚀");
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
        assert_eq!(visible("\u{1b}]0;x\u{7}\r\u{7f}\u{9b}31m"), r"\u{1b}]0;x\u{7}\r\u{7f}\u{9b}31m");
        assert_eq!(visible("a\u{202e}b\u{2066}c"), r"a\u{202e}b\u{2066}c");
        assert_eq!(visible_line("a\nb\tc\u{2028}"), r"a\nb\tc\u{2028}");
    }
}
