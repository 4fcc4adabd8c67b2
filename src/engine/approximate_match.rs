//! Whether two files say the same, give or take a tolerance in their numbers.

/// Whether both are UTF-8 text that is equal but for numbers, and these differ by at most `tolerance`, relative to the
/// larger one (or absolutely, near 0).
pub fn agree(a: &[u8], b: &[u8], tolerance: f64) -> bool {
    if a == b {
        return true;
    }
    let (Ok(a), Ok(b)) = (std::str::from_utf8(a), std::str::from_utf8(b)) else { return false };
    let (a, b) = (words(a), words(b));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| {
            a == b
                || match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(x), Ok(y)) => (x - y).abs() <= tolerance * x.abs().max(y.abs()).max(1.0),
                    _ => false,
                }
        })
}

/// The text cut where runs of the characters that numbers are made of begin and end.
fn words(text: &str) -> Vec<&str> {
    let numeric = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| numeric(c) != numeric(first)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        out.push(word);
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn numbers_may_differ_a_little_and_nothing_else_may() {
        let same = |a: &str, b: &str| agree(a.as_bytes(), b.as_bytes(), 1e-3);
        assert!(same("{\"loss\": [0.5000, -1e3]}", "{\"loss\": [0.5001, -1000.2]}"));
        assert!(!same("{\"loss\": 0.5}", "{\"loss\": 0.51}"));
        assert!(!same("{\"loss\": 0.5}", "{\"lass\": 0.5}"));
        assert!(!same("1 2", "1 2 3"));
        assert!(!same("v1a", "v1b"));
        assert!(agree(&[0xff, 1], &[0xff, 1], 0.0) && !agree(&[0xff, 1], &[0xff, 2], 1.0));
        assert!(!same("NaN", "1"));
    }
}
