//! Text as the model wants to read it.

use std::ops::Range;

use super::model_proto::NormalizerSpec;
use crate::{
    base::error::Result,
    data::tokenizer::{precompiled_charsmap::PrecompiledCharsmap, tokenizer_input::TokenizerInput},
};

/// How pieces write a space.
pub const SPACE: char = '\u{2581}';

/// Which texts get a space in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefix {
    #[default]
    Never,
    /// The one at the very beginning, unless it begins with a space.
    First,
    /// Every text between control tokens, unless it begins with a space.
    Every,
    /// Every text, whatever it begins with: SentencePiece's own rule.
    EveryAlways,
}

/// The rules of a file, or of the class that reads it.
#[derive(Default)]
pub struct Normalizer {
    charsmap: Option<PrecompiledCharsmap>,
    prefix: Prefix,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    /// The space stands behind a text instead of before it.
    suffix: bool,
    /// Longest first; they stay as they are.
    user_defined: Vec<(String, u32)>,
}

/// A normalised text, and which parts of it are a person's words.
pub struct Normalised {
    pub text: String,
    /// Ranges of bytes of `text`.
    pub content: Vec<Range<usize>>,
}

impl Normalizer {
    /// `prefix` for models that ask for a space in front.
    ///
    /// # Errors
    /// If the rules are damaged.
    pub fn new(
        spec: &NormalizerSpec,
        prefix: Prefix,
        suffix: bool,
        mut user_defined: Vec<(String, u32)>,
    ) -> Result<Self> {
        user_defined.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let map = &spec.precompiled_charsmap;
        Ok(Self {
            charsmap: (!map.is_empty()).then(|| PrecompiledCharsmap::new(map)).transpose()?,
            prefix: if spec.add_dummy_prefix.unwrap_or(true) { prefix } else { Prefix::Never },
            remove_extra_whitespaces: spec.remove_extra_whitespaces.unwrap_or(true),
            escape_whitespaces: spec.escape_whitespaces.unwrap_or(true),
            suffix,
            user_defined,
        })
    }

    /// Nothing but spaces as pieces write them.
    pub fn plain(prefix: Prefix) -> Self {
        Self { prefix, escape_whitespaces: true, ..Self::default() }
    }

    /// Length of the longest user-defined piece that stands at `at`.
    pub fn user_defined_at(&self, input: &TokenizerInput<'_>, at: usize) -> Option<usize> {
        let text = &input.text()[at..];
        let stands =
            |(name, id): &&(String, u32)| text.starts_with(name.as_str()) && input.allows(*id, &(at..at + name.len()));
        self.user_defined.iter().find(stands).map(|(name, _)| name.len())
    }

    /// What the beginning of the text from `at` on becomes, and how many bytes of it that takes.
    fn next<'a>(&'a self, input: &TokenizerInput<'a>, at: usize) -> (&'a str, usize) {
        let text = &input.text()[at..];
        if let Some(len) = self.user_defined_at(input, at) {
            return (&text[..len], len);
        }
        if let Some(found) = self.charsmap.as_ref().and_then(|map| map.longest(text)) {
            return found;
        }
        let len = text.chars().next().map_or(0, char::len_utf8);
        (&text[..len], len)
    }

    /// `first`: nothing stands before the text.
    pub fn normalise(&self, input: &TokenizerInput<'_>, first: bool) -> Normalised {
        let end = input.text().len();
        let mut at = 0;
        if self.remove_extra_whitespaces {
            while let (" ", len) = self.next(input, at) {
                at += len;
            }
        }
        let mut out = Normalised { text: String::with_capacity(end - at + (end - at) / 2), content: Vec::new() };
        if at == end {
            return out;
        }
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        if self.prefixes(&input.text()[at..], first) && !self.suffix {
            out.text.push(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while at < end {
            let (mut part, len) = self.next(input, at);
            if after_space {
                part = part.trim_start_matches(' ');
            }
            if !part.is_empty() {
                let from = out.text.len();
                out.text.extend(part.chars().map(|c| if c == ' ' { space } else { c }));
                after_space = self.remove_extra_whitespaces && part.ends_with(' ');
                if input.content().iter().any(|q| q.start < at + len && at < q.end) {
                    out.add_content(from..out.text.len());
                }
            }
            at += len;
        }
        if self.remove_extra_whitespaces {
            out.text.truncate(out.text.trim_end_matches(space).len());
        }
        if self.suffix && self.prefix != Prefix::Never {
            out.text.push(space);
        }
        out
    }

    fn prefixes(&self, text: &str, first: bool) -> bool {
        match self.prefix {
            Prefix::Never => false,
            Prefix::First => first && !text.starts_with([' ', SPACE]),
            Prefix::Every => !text.starts_with([' ', SPACE]),
            Prefix::EveryAlways => true,
        }
    }

    /// Whether a text loses the space at its beginning when it is shown; `first`: nothing is shown before it.
    pub fn hides_first_space(&self, first: bool) -> bool {
        self.removes_spaces()
            || match self.prefix {
                Prefix::Never => false,
                Prefix::First => first,
                Prefix::Every | Prefix::EveryAlways => true,
            }
    }

    /// Whether spaces at the ends of a text are removed, and runs of them cut down to one.
    pub fn removes_spaces(&self) -> bool {
        self.remove_extra_whitespaces
    }
}

impl Normalised {
    fn add_content(&mut self, range: Range<usize>) {
        match self.content.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => self.content.push(range),
        }
    }
}
