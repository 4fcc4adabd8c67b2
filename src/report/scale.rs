//! Scales of plots.

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
pub fn nice(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let multiple = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    multiple * power
}

/// Places for rising numbers between two ends, in the numbers' own distances; where they grow by a factor of eight or more and are
/// all above zero, in those of their logarithms.
pub fn spread_along(numbers: &[f64], left: f64, right: f64) -> Vec<f64> {
    let lo = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let hi = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let logarithmic = lo > 0.0 && hi / lo >= 8.0;
    let of = |n: f64| if logarithmic { n.ln() } else { n };
    let place = |n: &f64| if hi > lo { (of(*n) - of(lo)) / (of(hi) - of(lo)) } else { 0.5 };
    numbers.iter().map(|n| left + place(n) * (right - left)).collect()
}

/// About how many pixels a text of a plot is wide; writing that isn't Latin is taken to be twice as wide.
pub fn text_width(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 7.2 } else { 13.0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart_are_spread_by_their_logarithms() {
        assert_eq!(spread_along(&[1.0, 2.0, 3.0], 0.0, 100.0), [0.0, 50.0, 100.0]);
        let places = spread_along(&[1.0, 4.0, 16.0], 0.0, 100.0);
        assert!((places[1] - 50.0).abs() < 1e-9, "{places:?}");
        assert_eq!(spread_along(&[0.0, 1.0, 100.0], 0.0, 100.0), [0.0, 1.0, 100.0], "zero has no logarithm");
        assert_eq!(spread_along(&[5.0], 0.0, 100.0), [50.0]);
    }

    #[test]
    fn steps_are_round() {
        for (step, round) in [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (6.0, 10.0), (130.0, 200.0)] {
            assert!((nice(step) - round).abs() < 1e-9, "{step}");
        }
    }
}
