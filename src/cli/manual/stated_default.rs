//! Defaults that a comment states: `(default 8)`, `(default: all cores)` or `Left out: all cores.` of a key, `[default: all]` of an
//! option of the command line.

use super::page::one_line;

/// Where a default begins and ends in a text.
const FORMS: [(&str, char); 2] = [("(default", ')'), ("[default", ']')];

/// A text without the default that it states, and that default.
pub(super) fn split(text: &str) -> (String, Option<String>) {
    let text = one_line(text);
    for (begin, end) in FORMS {
        let Some((before, rest)) = text.split_once(begin) else { continue };
        let Some((stated, after)) = rest.split_once(end) else { continue };
        let Some(stated) = stated.strip_prefix(": ").or(stated.strip_prefix(' ')) else { continue };
        return (format!("{}{after}", before.trim_end()), Some(stated.to_owned()));
    }
    // A sentence of its own.
    match text.split_once(" Left out: ") {
        Some((before, stated)) => {
            let (stated, after) = stated.split_once(". ").unwrap_or((stated, ""));
            (format!("{before} {after}").trim_end().to_owned(), Some(stated.trim_end_matches('.').to_owned()))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_taken_out_of_its_sentence() {
        let taken = |text: &str| {
            let (rest, stated) = split(text);
            (rest, stated.unwrap_or_default())
        };
        assert_eq!(taken("Steps (default 8). Free."), ("Steps. Free.".into(), "8".into()));
        assert_eq!(taken("Cores [default: all]."), ("Cores.".into(), "all".into()));
        assert_eq!(taken("Decay (default `[0.9, 0.999]`)."), ("Decay.".into(), "`[0.9, 0.999]`".into()));
        assert_eq!(taken("Columns. Left out: the line. In order."), ("Columns. In order.".into(), "the line".into()));
        assert_eq!(taken("Steps. Left out: all."), ("Steps.".into(), "all".into()));
        assert_eq!(taken("`cpu` (default) or `cuda`."), ("`cpu` (default) or `cuda`.".into(), String::new()));
    }
}
