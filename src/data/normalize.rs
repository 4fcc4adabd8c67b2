//! What is done to a text before it is anything else, and how texts are compared and counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// One step of text normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Unicode normal form C.
    Nfc,
    /// Cuts white space at both ends.
    Trim,
    /// Makes every run of white space one blank.
    CollapseWhitespace,
    /// Turns `&amp;`, `&lt;`, `&gt;`, `&quot;`, `&apos;`, `&nbsp;` and numeric references into their characters, once.
    UnescapeHtml,
    /// Reads the control characters U+0080 to U+009F as the Windows-1252 bytes that they once were.
    FixC1,
    /// Takes out web addresses: `http://`, `https://` or `www.` up to the next white space.
    StripUrls,
    /// Makes every letter small.
    Lowercase,
}

impl Step {
    /// The text after this step.
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Nfc => text.nfc().collect(),
            Self::Trim => text.trim().to_owned(),
            Self::CollapseWhitespace => collapse_whitespace(text),
            Self::UnescapeHtml => unescape_html(text),
            Self::FixC1 => text.chars().map(fix_c1).collect(),
            Self::StripUrls => strip_urls(text),
            Self::Lowercase => text.to_lowercase(),
        }
    }
}

/// Applies `steps` in order.
pub fn normalize(steps: &[Step], text: &str) -> String {
    steps.iter().fold(text.to_owned(), |text, step| step.apply(&text))
}

/// The form in which two texts are compared: without case, and with one blank for every run of white space.
pub fn fold(text: &str) -> String {
    collapse_whitespace(text.trim()).to_lowercase()
}

fn collapse_whitespace(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_space = false;
    for c in text.chars() {
        let space = c.is_whitespace();
        if !space {
            out.push(c);
        } else if !in_space {
            out.push(' ');
        }
        in_space = space;
    }
    out
}

fn unescape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        match rest[1..].split_once(';').and_then(|(name, _)| Some((html_entity(name)?, name.len() + 2))) {
            Some((character, length)) => {
                out.push(character);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn html_entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

fn fix_c1(c: char) -> char {
    let code = c as u32;
    if !(0x80..0xa0).contains(&code) {
        return c;
    }
    let byte = [code as u8];
    let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&byte);
    text.chars().next().unwrap_or(c)
}

fn strip_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["http://", "https://", "www."].iter().filter_map(|p| rest.find(p)).min() {
        out.push_str(&rest[..start]);
        let address = &rest[start..];
        rest = &address[address.find(char::is_whitespace).unwrap_or(address.len())..];
    }
    out.push_str(rest);
    out
}

/// What a text must fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Nothing but ASCII. For English sources in which everything else is damaged beyond repair.
    Ascii,
}

impl Requirement {
    /// Whether the text fulfils it.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Ascii => text.is_ascii(),
        }
    }

    /// Why a text was dropped.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ascii => "characters outside of ASCII",
        }
    }
}

/// What counts as a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WordUnit {
    /// What stands between white space.
    #[default]
    Words,
    /// Every character that isn't white space, for languages that don't part words.
    Characters,
}

impl WordUnit {
    /// Words of the text.
    pub fn count(self, text: &str) -> u64 {
        match self {
            Self::Words => text.split_whitespace().count() as u64,
            Self::Characters => text.chars().filter(|c| !c.is_whitespace()).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_does_what_it_says() {
        for (step, before, after) in [
            (Step::Nfc, "e\u{301}", "é"),
            (Step::Trim, "\t a b \n", "a b"),
            (Step::CollapseWhitespace, "a\t \r\nb  c ", "a b c "),
            (
                Step::UnescapeHtml,
                "A &amp;amp; B &lt;3 &#39;x&#x2019; &no; & &#1114112; ;",
                "A &amp; B <3 'x\u{2019} &no; & &#1114112; ;",
            ),
            (Step::FixC1, "he\u{92}s \u{93}lost\u{94} \u{81}é", "he\u{2019}s \u{201c}lost\u{201d} \u{81}é"),
            (Step::StripUrls, "see http://t.co/x, or www.a.b now https://q", "see  or  now "),
            (Step::Lowercase, "ÄBC", "äbc"),
        ] {
            assert_eq!(step.apply(before), after, "{step:?}");
        }
    }

    #[test]
    fn order_matters_and_is_kept() {
        let steps = [Step::UnescapeHtml, Step::StripUrls, Step::CollapseWhitespace, Step::Trim];
        assert_eq!(normalize(&steps, " a &amp; http://x  b "), "a & b");
    }

    #[test]
    fn folding_ignores_case_and_white_space_alone() {
        assert_eq!(fold("  So\tGOOD \u{a0}!"), fold("so good !"));
        assert_ne!(fold("so good"), fold("so good!"));
    }

    #[test]
    fn words_are_counted_in_the_unit_of_the_language() {
        assert_eq!(WordUnit::Words.count(" not  bad at all "), 4);
        assert_eq!(WordUnit::Characters.count("我 不想嫁。"), 5);
    }
}
