//! The tokens that were added to a vocabulary: where they stand in a text, with the flags that the formats give them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::LazyLock,
};

use regex::Regex;
use tokenizers::AddedToken;

/// A part of a text: an added token, or what lies between two of them.
pub type Part = (Option<u32>, Range<usize>);

/// The added tokens of a vocabulary.
#[derive(Debug, Clone, Default)]
pub struct AddedTokens {
    tokens: BTreeMap<u32, AddedToken>,
    by_name: BTreeMap<String, u32>,
    /// Tokens that are found in the text as it stands.
    raw: Names,
    /// Tokens that are found in the text after it was normalised.
    normalized: Names,
    control: BTreeSet<u32>,
}

/// Names by their first byte; those that begin alike longest first.
#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<u8, Vec<(String, u32)>>);

/// In which form of the text tokens are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Raw,
    Normalized,
}

impl AddedTokens {
    /// `normalize` gives the form in which a token with the flag `normalized` is looked for.
    pub fn new(
        tokens: impl IntoIterator<Item = (u32, AddedToken)>,
        normalize: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut this = Self::default();
        for (id, token) in tokens {
            if token.content.is_empty() {
                continue;
            }
            if token.special || looks_like_control(&token.content) {
                this.control.insert(id);
            }
            match token.normalized {
                true => this.normalized.insert(normalize(&token.content).unwrap_or_else(|| token.content.clone()), id),
                false => this.raw.insert(token.content.clone(), id),
            }
            this.by_name.insert(token.content.clone(), id);
            this.tokens.insert(id, token);
        }
        this
    }

    /// Also guards tokens that a model's own pieces hold, where they look like markers.
    pub fn guarding<'a>(mut self, pieces: impl Iterator<Item = &'a (String, u32)>) -> Self {
        self.control.extend(pieces.filter(|(name, _)| looks_like_control(name)).map(|(_, id)| *id));
        self
    }

    /// Id of the token that is written so.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The token of this id, if it was added.
    pub fn get(&self, id: u32) -> Option<&AddedToken> {
        self.tokens.get(&id)
    }

    /// All of them by id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// Those that only a template may write: special ones, and what looks like a marker whatever its flags say.
    pub fn control(&self) -> &BTreeSet<u32> {
        &self.control
    }

    /// Ids of the tokens whose names stand in `text`, whatever their flags say.
    pub fn named_in(&self, text: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = 0;
        let longest = |at: usize| {
            let here = |names: &Names| names.at(&text[at..]).next().map(|(name, id)| (name.len(), id));
            here(&self.raw).max(here(&self.normalized))
        };
        while let Some(c) = text[at..].chars().next() {
            match longest(at) {
                Some((len, id)) => {
                    found.push(id);
                    at += len;
                }
                None => at += c.len_utf8(),
            }
        }
        found
    }

    /// The first token in `text` that is one of `which`, and where its name ends.
    pub fn first(&self, text: &str, which: impl Fn(u32) -> bool) -> Option<(u32, usize)> {
        text.char_indices().find_map(|(at, _)| {
            let here = [&self.raw, &self.normalized].into_iter().flat_map(|names| names.at(&text[at..]));
            here.filter(|(_, id)| which(*id)).map(|(name, id)| (id, at + name.len())).max_by_key(|(_, end)| *end)
        })
    }

    /// Cuts `text` at the tokens that stand in it and that `allowed` lets stand there: from left to right, the longest
    /// first, with the flags `single_word`, `lstrip` and `rstrip`.
    pub fn cut(&self, text: &str, form: Form, allowed: impl Fn(u32, &Range<usize>) -> bool) -> Vec<Part> {
        let names = match form {
            Form::Raw => &self.raw,
            Form::Normalized => &self.normalized,
        };
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        while let Some(c) = text[at..].chars().next() {
            let found =
                names.at(&text[at..]).map(|(name, id)| (id, at..at + name.len())).find(|(id, r)| allowed(*id, r));
            let Some((id, mut range)) = found else {
                at += c.len_utf8();
                continue;
            };
            at = range.end;
            let token = &self.tokens[&id];
            if token.single_word && !stands_alone(text, &range) {
                continue;
            }
            if token.lstrip {
                range.start = space_before(&text[..range.start]).max(from);
            }
            if token.rstrip {
                range.end += space_at_start(&text[range.end..]);
            }
            if from < range.start {
                parts.push((None, from..range.start));
            }
            from = range.end;
            parts.push((Some(id), range));
        }
        if from < text.len() {
            parts.push((None, from..text.len()));
        }
        parts
    }
}

impl Names {
    fn insert(&mut self, name: String, id: u32) {
        let Some(first) = name.bytes().next() else { return };
        let names = self.0.entry(first).or_default();
        names.push((name, id));
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    /// The names that `text` begins with, longest first.
    fn at<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, u32)> {
        let first = text.bytes().next().and_then(|byte| self.0.get(&byte));
        let begins = move |(name, _): &&(String, u32)| text.starts_with(name.as_str());
        first.into_iter().flatten().filter(begins).map(|(name, id)| (name.as_str(), *id))
    }
}

/// A name in brackets of some kind, such as `<|user|>`, `[INST]`, `<｜End｜>`.
pub fn looks_like_control(name: &str) -> bool {
    const BRACKETS: [(char, char); 6] = [('<', '>'), ('[', ']'), ('{', '}'), ('|', '|'), ('＜', '＞'), ('｜', '｜')];
    let name = name.trim();
    let (first, last) = (name.chars().next(), name.chars().next_back());
    name.chars().count() > 2 && BRACKETS.iter().any(|(open, close)| (first, last) == (Some(*open), Some(*close)))
}

// What the reference calls a word's character and white space: the classes of the crate `regex`.
static WORD_FIRST: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\w").ok());
static WORD_LAST: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\w$").ok());

fn matches(regex: &Option<Regex>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// Whether no word's character touches this part of the text.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let last = text[..range.start].char_indices().next_back().map_or("", |(at, _)| &text[at..range.start]);
    !matches(&WORD_LAST, last) && !matches(&WORD_FIRST, &text[range.end..])
}

/// Where the white space at the end of `text` begins.
fn space_before(text: &str) -> usize {
    text.trim_end().len()
}

/// Length of the white space at the beginning of `text`.
fn space_at_start(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> AddedToken {
        AddedToken::from(name, true).normalized(false)
    }

    fn cut(tokens: &[AddedToken], text: &str) -> Vec<(Option<u32>, String)> {
        let added = AddedTokens::new((1..).zip(tokens.iter().cloned()), |_| None);
        let parts = added.cut(text, Form::Raw, |_, _| true);
        parts.into_iter().map(|(id, range)| (id, text[range].to_owned())).collect()
    }

    #[test]
    fn the_longest_token_wins() {
        let tokens = [token("<|a|>"), token("<|a|>b"), token("问")];
        let parts = |text| cut(&tokens, text);
        let part = |id, text: &str| (id, text.to_owned());
        assert_eq!(
            parts("x<|a|>y<|a|>b问"),
            [part(None, "x"), part(Some(1), "<|a|>"), part(None, "y"), part(Some(2), "<|a|>b"), part(Some(3), "问")]
        );
        assert_eq!(parts("闭<|a|"), [part(None, "闭<|a|")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn flags_decide_what_a_token_takes() {
        let part = |id, text: &str| (id, text.to_owned());
        assert_eq!(
            cut(&[token("<a>").lstrip(true).rstrip(true)], "x \n<a>\u{3000}y"),
            [part(None, "x"), part(Some(1), " \n<a>\u{3000}"), part(None, "y")]
        );
        assert_eq!(
            cut(&[token("end").single_word(true)], "end bend 好end end_"),
            [part(Some(1), "end"), part(None, " bend 好end end_")]
        );
        // White space that one token took isn't there for the next.
        assert_eq!(
            cut(&[token("<a>").rstrip(true), token("<b>").lstrip(true)], "<a>  <b>"),
            [part(Some(1), "<a>  "), part(Some(2), "<b>")]
        );
    }

    #[test]
    fn what_is_not_allowed_hides_nothing() {
        let added = AddedTokens::new([(1, token("<a><b")), (2, token("<b>"))], |_| None);
        let text = "<a><b>";
        assert_eq!(added.cut(text, Form::Raw, |_, range| range.start >= 3), [(None, 0..3), (Some(2), 3..6)]);
        assert_eq!(added.named_in("x <b> <a><b>"), [2, 1]);
    }

    #[test]
    fn markers_are_control_tokens_whatever_their_flags_say() {
        for name in ["<|user|>", "[INST]", "</s>", "<｜End｜>", "|eot|", "{{x}}", "<think>\n"] {
            assert!(looks_like_control(name), "{name}");
        }
        for name in ["film", "  ", "\n\n", "<3", "<>", "good>", "###", ""] {
            assert!(!looks_like_control(name), "{name}");
        }
    }
}
