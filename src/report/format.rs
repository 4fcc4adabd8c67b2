//! How figures are written, everywhere the same.

use crate::eval::bootstrap::Interval;

/// Stands where a figure should be and isn't.
pub const MISSING: &str = "missing";

/// A fraction in percent with two decimals, as papers print it.
pub fn percent(fraction: f64) -> String {
    // Adding zero turns -0 into 0.
    format!("{:.2}", (fraction * 1e4).round() / 1e2 + 0.0)
}

/// A difference of fractions in percentage points, always with its sign.
pub fn points(difference: f64) -> String {
    let text = percent(difference);
    if text.starts_with('-') { text.replacen('-', "−", 1) } else { format!("+{text}") }
}

/// `[82.10, 86.02]`
pub fn interval(i: Interval) -> String {
    format!("[{}, {}]", percent(i.lo), percent(i.hi))
}

/// `[−1.20, +3.40]`
pub fn difference_interval(i: Interval) -> String {
    format!("[{}, {}]", points(i.lo), points(i.hi))
}

pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// `12,345`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `a`, `a and b`, `a, b and c`
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [init @ .., last] => {
            let init: Vec<_> = init.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", init.join(", "), last.as_ref())
        }
    }
}

/// The only value, or the smallest and largest of several; `write` shows one.
pub fn range<T: PartialOrd + Copy>(values: impl IntoIterator<Item = T>, write: impl Fn(T) -> String) -> String {
    let mut ends: Option<(T, T)> = None;
    for v in values {
        let (lo, hi) = ends.unwrap_or((v, v));
        ends = Some((if v < lo { v } else { lo }, if v > hi { v } else { hi }));
    }
    match ends {
        None => String::new(),
        Some((lo, hi)) => {
            let (lo, hi) = (write(lo), write(hi));
            if lo == hi { lo } else { format!("{lo}–{hi}") }
        }
    }
}

/// `1 task`, `2 tasks`
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(n as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(percent(0.841249), "84.12");
        assert_eq!(percent(-0.00001), "0.00");
        assert_eq!(points(0.012), "+1.20");
        assert_eq!(points(-0.012), "−1.20");
        assert_eq!(points(0.0), "+0.00");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(range([3, 1, 2], |n| n.to_string()), "1–3");
        assert_eq!(range([2, 2], |n| n.to_string()), "2");
        assert_eq!(p_value(0.0004), "< 0.001");
    }
}
