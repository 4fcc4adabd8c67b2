//! From what a model wrote to a label.
//!
//! The rule looks at words and at nothing else:
//!
//! 1. If the first line that isn't empty is a label's words and nothing more, that label is the answer.
//! 2. Otherwise, if the text names exactly one label, that label is the answer; how often doesn't matter. Where one label's
//!    words lie inside another's (`positive` in `very positive`), the longer one is meant.
//! 3. Anything else is unparsable: no label, or several.
//!
//! Case, the forms that Unicode calls compatible (NFKC), the amount of white space, and punctuation around the words make
//! no difference. A word ends where no letter, digit, hyphen or underscore follows; in Chinese and Japanese, which write no
//! spaces, it may end anywhere. So `non-neutral` isn't `neutral`. Negation isn't understood.

use unicode_normalization::UnicodeNormalization;

/// The words of a task's labels.
#[derive(Debug, Clone)]
pub struct Parser {
    /// Normalised.
    labels: Vec<String>,
}

impl Parser {
    /// `words` are what the model is to answer, in the order of the labels.
    pub fn new<S: AsRef<str>>(words: &[S]) -> Self {
        Self { labels: words.iter().map(|w| normalise(w.as_ref())).collect() }
    }

    /// The label that `answer` names; None: unparsable.
    pub fn label(&self, answer: &str) -> Option<usize> {
        self.exact(answer).or_else(|| self.only_one(answer))
    }

    fn exact(&self, answer: &str) -> Option<usize> {
        let line = normalise(answer.lines().find(|line| !line.trim().is_empty())?);
        let is = |wanted: &str| self.labels.iter().position(|label| label == wanted);
        is(&line).or_else(|| is(line.trim_matches(|c: char| !c.is_alphanumeric())))
    }

    /// The label that is named, if no other one is.
    fn only_one(&self, answer: &str) -> Option<usize> {
        let text = normalise(answer);
        let mut found = None;
        let (mut at, mut before) = (0, None);
        while let Some(c) = text[at..].chars().next() {
            let named = (!joined(before, Some(c))).then(|| self.longest_at(&text[at..])).flatten();
            let len = match named {
                Some(label) if found.is_some_and(|other| other != label) => return None,
                Some(label) => {
                    found = Some(label);
                    self.labels[label].len()
                }
                None => c.len_utf8(),
            };
            before = text[at..at + len].chars().next_back();
            at += len;
        }
        found
    }

    /// The label with the longest words that `text` begins with.
    fn longest_at(&self, text: &str) -> Option<usize> {
        let begins = |label: &String| {
            let rest = text.strip_prefix(label.as_str());
            !label.is_empty() && rest.is_some_and(|rest| !joined(label.chars().next_back(), rest.chars().next()))
        };
        (0..self.labels.len()).filter(|i| begins(&self.labels[*i])).max_by_key(|i| self.labels[*i].len())
    }
}

fn normalise(text: &str) -> String {
    let folded = text.nfkc().collect::<String>().to_lowercase();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two neighbouring characters belong to one word.
fn joined(a: Option<char>, b: Option<char>) -> bool {
    let in_word = |c: char| (c.is_alphanumeric() || c == '-' || c == '_') && !is_unspaced(c);
    a.is_some_and(in_word) && b.is_some_and(in_word)
}

/// Characters of scripts that write no spaces between words: kana and Han.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], cases: &[(&str, Option<usize>)]) {
        let parser = Parser::new(words);
        for (text, label) in cases {
            assert_eq!(parser.label(text), *label, "{text:?}");
        }
    }

    #[test]
    fn exact_answers() {
        check(
            &["Negative", "Neutral", "Positive"],
            &[
                ("Positive", Some(2)),
                (" positive.\n", Some(2)),
                ("\u{201c}NEGATIVE\u{201d}", Some(0)),
                ("Ｎｅｕｔｒａｌ", Some(1)),
                ("Positive\n\nIt isn't negative or neutral.", Some(2)),
            ],
        );
        check(&["+", "-"], &[("+", Some(0)), ("-", Some(1)), ("", None)]);
    }

    #[test]
    fn answers_in_a_sentence() {
        check(
            &["Negative", "Neutral", "Positive"],
            &[
                ("The sentiment is positive.", Some(2)),
                ("Sentiment:'Positive', clearly positive", Some(2)),
                ("Positive or negative", None),
                ("I can't tell.", None),
                ("positively", None),
                ("non-neutral", None),
                ("", None),
                (" \n ", None),
            ],
        );
    }

    #[test]
    fn the_longer_words_are_meant() {
        check(
            &["Positive", "Somewhat positive", "Very Negative", "Negative"],
            &[
                ("somewhat\n  positive", Some(1)),
                ("It is somewhat positive.", Some(1)),
                ("It is positive.", Some(0)),
                ("It is very negative!", Some(2)),
                ("somewhat positive, or positive", None),
            ],
        );
    }

    #[test]
    fn scripts_without_spaces() {
        check(
            &["积极", "消极"],
            &[
                ("积极", Some(0)),
                ("这句话的情感是消极的。", Some(1)),
                ("积极还是消极", None),
                ("label:积极ok", Some(0)),
            ],
        );
    }
}
