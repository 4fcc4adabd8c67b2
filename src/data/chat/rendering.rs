//! Where the content of a message stands in what a template wrote.

use std::ops::Range;

use super::{
    chat_template::{Message, Template},
    python,
};
use crate::base::error::{Error, Result};

/// What a template wrote of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// All that it wrote.
    pub text: String,
    /// Byte ranges of one message's content, without the white space at its ends.
    pub content: Vec<Range<usize>>,
}

impl Rendered {
    /// The template's own text, in parts.
    pub fn outside(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.content.iter().map(|q| q.end));
        let ends = self.content.iter().map(|q| q.start).chain([self.text.len()]);
        starts.zip(ends).map(|(start, end)| &self.text[start..end])
    }
}

/// Renders a conversation and finds the content of message `of` in it: a second rendering has marks around that content.
///
/// # Errors
/// If the template can't be rendered, or if it does something with the message that can't be followed.
pub fn render(
    template: &Template<'_>,
    messages: &[Message<'_>],
    of: usize,
    add_generation_prompt: bool,
) -> Result<Rendered> {
    let text = template.render(messages, add_generation_prompt)?;
    let words = messages.get(of).map_or("", |(_, content)| *content);
    // Templates take white space off; marks inside it leave them that.
    let core = python::strip(words);
    if core.is_empty() {
        return Ok(Rendered { text, content: Vec::new() });
    }
    let mut used: Vec<&str> = messages.iter().map(|(_, content)| *content).collect();
    used.push(template.source());
    let (open, close) = unused_chars(&used);
    let at = words.find(core).unwrap_or_default();
    let marked = format!("{}{open}{core}{close}{}", &words[..at], &words[at + core.len()..]);
    let mut with_marks = messages.to_vec();
    with_marks[of].1 = &marked;
    let found = template.render(&with_marks, add_generation_prompt).ok();
    let found = found.and_then(|marked| unmark(&marked, open, close)).filter(|found| found.text == text);
    found.or_else(|| only_place(&text, core)).ok_or_else(|| {
        Error::input(format!("the chat template does something with this text that can't be followed: {words}"))
            .help("give another one as `chat_template` in the model's table, which writes a message as it is")
    })
}

/// Takes the marks out; None where they don't come in pairs.
fn unmark(marked: &str, open: char, close: char) -> Option<Rendered> {
    let mut found = Rendered { text: String::with_capacity(marked.len()), content: Vec::new() };
    let mut start = None;
    for c in marked.chars() {
        match start {
            None if c == open => start = Some(found.text.len()),
            Some(at) if c == close => {
                found.content.push(at..found.text.len());
                start = None;
            }
            _ if c == open || c == close => return None,
            _ => found.text.push(c),
        }
    }
    start.is_none().then_some(found)
}

/// A template that looks into the message may write something else around marks: then the words, if they stand in its
/// text as they are and only once.
fn only_place(text: &str, core: &str) -> Option<Rendered> {
    let mut places = text.match_indices(core);
    let (at, _) = places.next()?;
    let content = std::iter::once(at..at + core.len()).collect();
    (text.matches(core).count() == 1).then(|| Rendered { text: text.to_owned(), content })
}

/// Two private-use characters that none of `texts` has.
fn unused_chars(texts: &[&str]) -> (char, char) {
    // The fallback needs texts that have all of these 131,000 characters.
    let mut unused = ('\u{f0000}'..='\u{10fffd}').filter(|c| !texts.iter().any(|t| t.contains(*c)));
    (unused.next().unwrap_or('\u{10fffc}'), unused.next().unwrap_or('\u{10fffd}'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rendered(source: &str, message: &str) -> Result<Rendered> {
        let named = BTreeMap::new();
        render(&Template::new(source, &named, None)?, &[("user", message)], 0, true)
    }

    fn contents(source: &str, message: &str) -> (String, Vec<String>) {
        let found = rendered(source, message).unwrap();
        let content = found.content.iter().map(|q| found.text[q.clone()].to_owned()).collect();
        (found.text, content)
    }

    #[test]
    fn the_words_are_found_in_what_the_template_made_of_them() {
        let of = |source: &str, message: &str, text: &str, content: &[&str]| {
            assert_eq!(contents(source, message), (text.to_owned(), content.iter().map(|q| (*q).to_owned()).collect()));
        };
        of("<{{ messages[0].content }}>", " a b ", "< a b >", &["a b"]);
        of("<{{ messages[0].content.strip() }}>", " a b ", "<a b>", &["a b"]);
        of("{{ messages[0].content | upper }}!", "a\u{f0000}b", "A\u{f0000}B!", &["A\u{f0000}B"]);
        of("{{ messages[0].content | tojson }}", "a\"b", r#""a\"b""#, &[r#"a\"b"#]);
        of("{{ messages[0].content }}+{{ messages[0].content }}", "x", "x+x", &["x", "x"]);
        of("<{{ messages[0].content }}>", "  ", "<  >", &[]);
        of("only this", "x", "only this", &[]);
        // It looks at the message's first characters.
        let source = "{% if messages[0].content.startswith('ab') %}1{% endif %}<{{ messages[0].content }}>";
        of(source, "abc", "1<abc>", &["abc"]);
    }

    #[test]
    fn a_message_that_is_not_shown_whole_is_refused() {
        let e = rendered("{{ messages[0].content[:3] }}", "abcdef").unwrap_err();
        assert!(e.message.contains("abcdef") && e.help.is_some(), "{e}");
    }
}
