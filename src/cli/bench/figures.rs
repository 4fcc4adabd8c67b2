//! Rates, medians and processor time.

/// With three digits after the point.
pub fn rate(count: f64, seconds: f64) -> f64 {
    (count / seconds.max(1e-9) * 1000.0).round() / 1000.0
}

/// The middle value, of two the larger; None of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Processor seconds of this process's threads so far, where the system tells: on a machine with other work, they say more
/// than the clock.
pub fn processor_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some(threads.filter_map(|thread| nanoseconds(thread.ok()?)).sum::<f64>() / 1e9)
}

/// Processor seconds from `before` until now; NaN where the system doesn't tell.
pub fn since(before: Option<f64>) -> f64 {
    before.zip(processor_seconds()).map_or(f64::NAN, |(from, to)| to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        assert_eq!(rate(1.0, 3.0), 0.333);
    }
}
