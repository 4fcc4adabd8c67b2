//! Is a difference more than chance? Paired tests on the same examples, corrected for how many were made.

use serde::{Deserialize, Serialize};

use super::{
    bootstrap::{Bootstrap, Interval, by_metric, interval, mean_figures, resample},
    metrics::{Cell, Counts, Metric, cells},
};
use crate::base::error::{Error, Result};

/// A candidate against a baseline on the same examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub mcnemar: McNemar,
    /// In [`Metric::ALL`]'s order.
    differences: [Difference; 4],
}

/// Candidate minus baseline, each the mean over its runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub value: f64,
    pub interval: Interval,
    /// Two-sided paired bootstrap.
    pub p: f64,
}

/// The exact McNemar test: are the examples that only one of two classifiers gets right shared out evenly?
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Examples that only the candidate gets right.
    pub gained: u64,
    /// Examples that only the baseline gets right.
    pub lost: u64,
    /// Two-sided.
    pub p: f64,
}

impl Comparison {
    /// Compares two lists of runs (one a seed), each run with a prediction for every example.
    ///
    /// The bootstrap resamples examples and compares the means over runs. McNemar's test knows no means: with several
    /// runs, run `i` of the candidate meets run `i` of the baseline (or its only one), `gained` and `lost` are sums, and
    /// `p` is the largest of all pairs, or 1 where pairs point in different directions. So a small `p` says that every
    /// single run differs.
    ///
    /// # Errors
    /// As [`super::metrics::Metrics::compute`]; and where a side has no runs, or the sides' numbers of runs differ
    /// though neither is one.
    pub fn compute(
        labels: usize,
        gold: &[u32],
        baseline: &[&[Option<u32>]],
        candidate: &[&[Option<u32>]],
        bootstrap: Bootstrap,
    ) -> Result<Self> {
        let (b, c) = (baseline.len(), candidate.len());
        if b == 0 || c == 0 || (b != c && b != 1 && c != 1) {
            return Err(Error::input(format!("can't pair {c} runs with {b} runs of the baseline"))
                .help("evaluate both methods with the same seeds"));
        }
        let cells = cells(labels, gold, &[baseline, candidate].concat())?;
        let (baseline, candidate): (Vec<usize>, Vec<usize>) = ((0..b).collect(), (b..b + c).collect());
        let difference = |counts: &[Counts]| {
            let (base, other) = (mean_figures(counts, &baseline), mean_figures(counts, &candidate));
            std::array::from_fn(|m| other[m] - base[m])
        };
        let observed: Vec<Counts> =
            (0..b + c).map(|run| Counts::of(labels, cells.iter().map(|e| (e.gold, e.predicted[run])))).collect();
        let values = difference(&observed);
        let draws = by_metric(&resample(labels, &cells, bootstrap, difference));
        let mut differences =
            values.map(|value| Difference { value, interval: Interval { lo: value, hi: value }, p: 1.0 });
        for (d, draws) in differences.iter_mut().zip(draws) {
            d.p = bootstrap_p(&draws);
            d.interval = interval(draws, bootstrap.level);
        }
        let pairs = (0..b.max(c)).map(|i| (baseline[i.min(b - 1)], candidate[i.min(c - 1)]));
        let mcnemar = McNemar::over(pairs.map(|(b, c)| McNemar::of(&cells, b, c)));
        Ok(Self { mcnemar, differences })
    }

    /// The difference in one metric.
    pub fn get(&self, metric: Metric) -> Difference {
        self.differences[metric as usize]
    }
}

impl McNemar {
    fn of(cells: &[Cell], baseline: usize, candidate: usize) -> Self {
        let (mut gained, mut lost) = (0, 0);
        for e in cells {
            match (e.predicted[baseline] == e.gold, e.predicted[candidate] == e.gold) {
                (false, true) => gained += 1,
                (true, false) => lost += 1,
                _ => {}
            }
        }
        Self { gained, lost, p: sign_test(gained, lost) }
    }

    fn over(pairs: impl Iterator<Item = Self>) -> Self {
        let (mut up, mut down) = (false, false);
        let mut all = pairs.fold(Self { gained: 0, lost: 0, p: 0.0 }, |all, one| {
            up |= one.gained > one.lost;
            down |= one.lost > one.gained;
            Self { gained: all.gained + one.gained, lost: all.lost + one.lost, p: all.p.max(one.p) }
        });
        if up && down {
            all.p = 1.0;
        }
        all
    }
}

/// Two-sided exact binomial test of `a` against `b` at one half (McNemar, 1947; exact form: Liddell, 1983).
fn sign_test(a: u64, b: u64) -> f64 {
    let n = a + b;
    // Logarithms, since 2^-n underflows from n = 1075 on.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=a.min(b) {
        tail += log_term.exp();
        log_term += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Share of resampled differences on the far side of zero, twice; never 0, since the observed sample is one of them.
fn bootstrap_p(draws: &[f64]) -> f64 {
    let below = draws.iter().filter(|d| **d <= 0.0).count();
    let above = draws.iter().filter(|d| **d >= 0.0).count();
    (2.0 * (below.min(above) + 1) as f64 / (draws.len() + 1) as f64).min(1.0)
}

/// Holm's (1979) step-down correction: p-values of one family, adjusted so that all can be held against one level.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut floor = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = floor;
    }
    adjusted
}

/// Mean and sample deviation (divisor n - 1) of a figure over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub n: usize,
    pub mean: f64,
    /// None for fewer than two values.
    pub deviation: Option<f64>,
}

/// None where there are no values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
    Some(Spread { n, mean, deviation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-10, "{a} != {b}");
    }

    /// Against `scipy.stats.binomtest(k, n, 0.5).pvalue` (1.16).
    #[test]
    fn sign_test_equals_scipy() {
        close(sign_test(3, 12), 0.03515625);
        close(sign_test(12, 3), 0.03515625);
        close(sign_test(7, 7), 1.0);
        close(sign_test(200, 250), 0.02079180024760781);
        close(sign_test(0, 1), 1.0);
        close(sign_test(0, 0), 1.0);
        close(sign_test(2000, 2000), 1.0);
    }

    /// Against `statsmodels.stats.multitest.multipletests(method="holm")`.
    #[test]
    fn holm_equals_statsmodels() {
        for (ours, theirs) in holm(&[0.01, 0.04, 0.03, 0.005, 0.6]).iter().zip([0.04, 0.09, 0.09, 0.025, 0.6]) {
            close(*ours, theirs);
        }
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn spread_over_seeds() {
        let s = spread(&[0.7, 0.72, 0.68, 0.75]).unwrap();
        close(s.mean, 0.7125);
        close(s.deviation.unwrap(), 0.029860788111948183);
        assert_eq!(spread(&[0.5]).unwrap().deviation, None);
        assert_eq!(spread(&[]), None);
    }

    /// 60 examples of two classes; `wrong` lists the examples that a run gets wrong.
    fn run(gold: &[u32], wrong: std::ops::Range<usize>) -> Vec<Option<u32>> {
        gold.iter().enumerate().map(|(i, g)| Some(if wrong.contains(&i) { 1 - g } else { *g })).collect()
    }

    #[test]
    fn a_clear_gain_is_significant_and_no_gain_is_not() {
        let gold: Vec<u32> = (0..60).map(|i| i % 2).collect();
        let (base, better, same) = (run(&gold, 0..30), run(&gold, 0..10), run(&gold, 5..35));
        let bootstrap = Bootstrap { samples: 400, ..Bootstrap::default() };

        let gain = Comparison::compute(2, &gold, &[&base], &[&better], bootstrap).unwrap();
        close(gain.get(Metric::Accuracy).value, 1.0 / 3.0);
        assert!(gain.get(Metric::Accuracy).interval.lo > 0.15 && gain.get(Metric::Accuracy).interval.hi < 0.5);
        assert!(gain.get(Metric::MacroF1).p < 0.01);
        assert_eq!((gain.mcnemar.gained, gain.mcnemar.lost), (20, 0));
        assert!(gain.mcnemar.p < 1e-5);

        let none = Comparison::compute(2, &gold, &[&base], &[&same], bootstrap).unwrap();
        close(none.get(Metric::Accuracy).value, 0.0);
        assert!(none.get(Metric::Accuracy).p > 0.5);
        close(none.mcnemar.p, 1.0);
    }

    #[test]
    fn seeds_that_disagree_show_nothing() {
        let gold: Vec<u32> = (0..60).map(|i| i % 2).collect();
        let (base, better, worse) = (run(&gold, 0..30), run(&gold, 0..10), run(&gold, 0..50));
        let bootstrap = Bootstrap { samples: 50, ..Bootstrap::default() };
        let both = Comparison::compute(2, &gold, &[&base], &[&better, &worse], bootstrap).unwrap();
        close(both.mcnemar.p, 1.0);
        close(both.get(Metric::Accuracy).value, 0.0);
        let error = Comparison::compute(2, &gold, &[&base, &base], &[&base, &base, &base], bootstrap).unwrap_err();
        assert!(error.message.contains("can't pair 3 runs with 2"));
    }
}
