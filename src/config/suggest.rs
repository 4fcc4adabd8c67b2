//! "Did you mean": the known word that an unknown one most likely stands for.

/// The candidate nearest to `word`, if one is near enough to be meant. Among equally near ones the first wins.
pub fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let known = fold(candidate);
        let distance = if known == wanted { 0 } else { strsim::damerau_levenshtein(&wanted, &known) };
        let tolerated = wanted.chars().count().max(known.chars().count()).div_ceil(3).min(4);
        if distance <= tolerated && distance < known.chars().count() && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Help text for an unknown word: the likely meaning, else all known words.
pub(super) fn help_for(word: &str, known: &[&str], what: &str) -> String {
    match suggest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there are no {what} here"),
        None => format!("known {what}: {}", quoted(known)),
    }
}

/// The first few words, each in backticks.
fn quoted(words: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text = words.iter().take(SHOWN).map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    if words.len() > SHOWN {
        text.push_str(&format!(" and {} more", words.len() - SHOWN));
    }
    text
}

/// Case and the choice between `-`, `_` and blank are never what tells two names apart.
fn fold(word: &str) -> String {
    word.chars().map(|c| if matches!(c, '-' | ' ') { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["train", "evaluate", "learning_rate"];
        let find = |w| suggest(w, known.iter().copied());
        assert_eq!(find("trian"), Some("train"));
        assert_eq!(find("Learning-Rate"), Some("learning_rate"));
        assert_eq!(find("evalute"), Some("evaluate"));
        assert_eq!(find("download"), None);
        assert_eq!(suggest("x", ["y"].into_iter()), None);
    }

    #[test]
    fn help_lists_what_is_known_when_nothing_is_near() {
        assert_eq!(help_for("zzz", &["a", "b"], "keys"), "known keys: `a`, `b`");
        assert_eq!(help_for("zzz", &[], "stages"), "there are no stages here");
    }
}
