//! What a model's files say is read, is known not to matter, or is refused by its name.

/// Whether a list has `name`. An entry stands for itself; with a star at its end, or at its start, for all that begin or end
/// so.
pub fn is_listed(name: &str, lists: &[&[&str]]) -> bool {
    lists.iter().flat_map(|list| list.iter()).any(|entry| match (entry.strip_prefix('*'), entry.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(start)) => name.starts_with(start),
        _ => name == *entry,
    })
}

/// Names in a sentence; of many, the first ones.
pub fn some_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 4;
    let names: Vec<_> = names.into_iter().collect();
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_for_themselves_or_for_what_begins_or_ends_so() {
        let lists: &[&[&str]] = &[&["a", "cls.*"], &["*.inv_freq"]];
        for name in ["a", "cls.", "cls.x.y", "x.inv_freq"] {
            assert!(is_listed(name, lists), "{name}");
        }
        for name in ["", "ab", "x.cls.y", "inv_freq", "x.inv_freq.y", "cls"] {
            assert!(!is_listed(name, lists), "{name}");
        }
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(some_of(["a", "b"]), "`a`, `b`");
        assert_eq!(some_of(["a", "b", "c", "d"]), "`a`, `b`, `c`, `d`");
        assert_eq!(some_of(["a", "b", "c", "d", "e", "f"]), "`a`, `b`, `c`, `d` and 2 more");
    }
}
