//! Regular expressions as Python's `re` reads them, for the keys in which PEFT takes one.

use fancy_regex::Regex;

use crate::base::error::{Error, Result};

/// A pattern that means the same here as in Python, or none at all.
#[derive(Debug, Clone)]
pub struct Pattern {
    key: String,
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Python's `re.fullmatch(text, ...)`. `key` is where the pattern stands, for messages.
    ///
    /// # Errors
    /// If `text` can't be read, or means something else in Python.
    pub fn whole(key: &str, text: &str) -> Result<Self> {
        Self::new(key, text, &format!(r"\A(?:{text})\z"))
    }

    /// What PEFT makes of a key of `rank_pattern` and `alpha_pattern`: the end of a path, from a point on.
    ///
    /// # Errors
    /// If `text` can't be read, or means something else in Python.
    pub fn end(key: &str, text: &str) -> Result<Self> {
        Self::new(key, text, &format!(r"\A(.*\.)?({text})\z"))
    }

    /// What PEFT makes of an entry of `layers_pattern`; [`Pattern::layer`] reads the number behind it.
    ///
    /// # Errors
    /// If `text` can't be read, or means something else in Python.
    pub fn numbered(key: &str, text: &str) -> Result<Self> {
        Self::new(key, text, &format!(r"\A(?:(?:^|.*?\.){text}\.(?P<idx>\d+)\.)"))
    }

    /// As [`Pattern::numbered`] where nothing is said: the first number behind two names.
    ///
    /// # Errors
    /// None: the pattern is ours.
    pub fn first_number() -> Result<Self> {
        Self::new("layers_to_transform", "", r"\A.*?\.[^.]*\.(?P<idx>\d+)\.")
    }

    fn new(key: &str, text: &str, regex: &str) -> Result<Self> {
        let unreadable = |why: String| {
            Error::input(format!("`{key}` has the regular expression `{text}`, which can't be read: {why}"))
                .help("write it with what Python's and this program's regular expressions have in common")
        };
        if let Some(part) = foreign(text) {
            return Err(unreadable(format!("`{part}` means something else, or nothing, in Python")));
        }
        let regex = Regex::new(regex).map_err(|e| unreadable(e.to_string()))?;
        Ok(Self { key: key.to_owned(), text: text.to_owned(), regex })
    }

    /// # Errors
    /// If the pattern needs more steps than it may have.
    pub fn matches(&self, path: &str) -> Result<bool> {
        self.regex.is_match(path).map_err(|e| self.endless(&e))
    }

    /// The number of the layer that `path` lies in.
    ///
    /// # Errors
    /// If the pattern needs more steps than it may have.
    pub fn layer(&self, path: &str) -> Result<Option<u64>> {
        let found = self.regex.captures(path).map_err(|e| self.endless(&e))?;
        Ok(found.and_then(|found| found.name("idx")?.as_str().parse().ok()))
    }

    fn endless(&self, e: &fancy_regex::Error) -> Error {
        Error::input(format!(
            "`{}` has the regular expression `{}`, which doesn't come to an end: {e}",
            self.key, self.text
        ))
    }
}

/// Letters that follow a backslash in Python's patterns, digits of references included.
const ESCAPES: &str = "AbBdDsSwWZafnrtvxuU123456789";

/// What Python reads in another way: sets inside of sets, and escapes that only one of both has.
fn foreign(text: &str) -> Option<&str> {
    let (mut set, mut chars) = (None, text.char_indices().peekable());
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().copied();
        let pair = || &text[at..next.map_or(text.len(), |(to, n)| to + n.len_utf8())];
        match (c, set, next.map(|(_, n)| n)) {
            ('\\', _, Some(n)) => {
                chars.next();
                let unknown =
                    n.is_ascii_alphanumeric() && (!ESCAPES.contains(n) || set.is_some() && n.is_ascii_digit());
                if unknown || matches!(n, '<' | '>') || n == 'b' && matches!(chars.peek(), Some((_, '{'))) {
                    return Some(pair());
                }
            }
            ('[', None, _) => {
                set = Some(at);
                // At its beginning, a closing bracket is one of the set's characters.
                chars.next_if(|(_, c)| *c == '^');
                chars.next_if(|(_, c)| *c == ']');
            }
            (']', Some(_), _) => set = None,
            ('[', Some(_), _) => return Some("["),
            ('&', Some(_), Some('&')) | ('-', Some(_), Some('-')) | ('~', Some(_), Some('~')) => return Some(pair()),
            _ => (),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "model.layers.11.self_attn.q_proj";

    #[test]
    fn patterns_match_as_in_python() {
        let whole = |text: &str| Pattern::whole("target_modules", text).unwrap().matches(PATH).unwrap();
        assert!(whole(r".*\.(q|v)_proj") && whole(r"(?i).*Q_PROJ") && whole(r"(?!.*mlp).*_(?:q_)?proj"));
        assert!(whole(r"model\.layers\.(\d)\1\..*") && whole(r".*[]x_]proj|q"));
        assert!(!whole("q_proj") && !whole(r".*\.q") && !whole(r"model|.*\.v_proj"));
        let end = |text: &str| Pattern::end("rank_pattern", text).unwrap().matches(PATH).unwrap();
        assert!(end("q_proj") && end(r"self_attn\.[qv]_proj") && end(PATH) && end(r"^model\..*q_proj"));
        assert!(!end("proj") && !end("q_pro") && !end("attn.q_proj"));
        let layer = |p: Pattern| p.layer(PATH).unwrap();
        assert_eq!(layer(Pattern::first_number().unwrap()), Some(11));
        assert_eq!(layer(Pattern::numbered("layers_pattern", "layers").unwrap()), Some(11));
        assert_eq!(layer(Pattern::numbered("layers_pattern", "blocks").unwrap()), None);
        assert_eq!(Pattern::first_number().unwrap().layer("layers.11.q_proj").unwrap(), None);
    }

    #[test]
    fn what_python_reads_otherwise_is_refused_by_name() {
        for text in
            [r"[[a]", r"[a-z&&b]", r"[a--b]", r"[a~~b]", r"\h+", r"\<q", r"a\z", r"\b{start}q", r"[\1]", "(", "*q"]
        {
            let e = Pattern::whole("exclude_modules", text).unwrap_err();
            assert!(e.message.contains("`exclude_modules`") && e.message.contains(text), "{e}");
        }
        let endless = Pattern::whole("target_modules", r"(x*)(x*)(x*)(x*)(x*)(x*)\1\2y").unwrap();
        assert!(endless.matches(&"x".repeat(64)).unwrap_err().message.contains("target_modules"));
    }
}
