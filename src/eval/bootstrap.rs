//! Percentile bootstrap over examples.
//!
//! Every resample draws from its own stream of the generator, so the result doesn't depend on how many threads share the
//! work. Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 16.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::metrics::{Cell, Counts, Metric, cells};
use crate::base::error::Result;

/// How to resample. The default is what reports use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    pub samples: u32,
    /// Share of resamples inside an interval.
    pub level: f64,
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { samples: 1000, level: 0.95, seed: 0 }
    }
}

/// From the lower to the upper quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    pub lo: f64,
    pub hi: f64,
}

/// A confidence interval per metric, with how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    pub bootstrap: Bootstrap,
    pub accuracy: Interval,
    pub macro_f1: Interval,
    pub weighted_f1: Interval,
    pub ua: Interval,
}

impl Intervals {
    /// Intervals of one set of predictions; arguments and errors as in [`super::metrics::Metrics::compute`].
    ///
    /// # Errors
    /// As there.
    pub fn compute(labels: usize, gold: &[u32], predicted: &[Option<u32>], bootstrap: Bootstrap) -> Result<Self> {
        Self::of_mean(labels, gold, &[predicted], bootstrap)
    }

    /// Intervals of the mean of several sets of predictions (one a seed) for the same examples.
    ///
    /// # Errors
    /// As [`super::metrics::Metrics::compute`].
    pub fn of_mean(labels: usize, gold: &[u32], runs: &[&[Option<u32>]], bootstrap: Bootstrap) -> Result<Self> {
        let cells = cells(labels, gold, runs)?;
        let all: Vec<usize> = (0..runs.len()).collect();
        let draws = resample(labels, &cells, bootstrap, |counts| mean_figures(counts, &all));
        let [accuracy, macro_f1, weighted_f1, ua] = by_metric(&draws).map(|values| interval(values, bootstrap.level));
        Ok(Self { bootstrap, accuracy, macro_f1, weighted_f1, ua })
    }

    /// The interval of one metric.
    pub fn get(&self, metric: Metric) -> Interval {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::MacroF1 => self.macro_f1,
            Metric::WeightedF1 => self.weighted_f1,
            Metric::Ua => self.ua,
        }
    }
}

/// Figures per metric, in [`Metric::ALL`]'s order.
pub(super) type Figures = [f64; 4];

/// Mean figures over some of the runs that were counted.
pub(super) fn mean_figures(counts: &[Counts], runs: &[usize]) -> Figures {
    let mut sum = [0.0; 4];
    for &run in runs {
        for (s, f) in sum.iter_mut().zip(counts[run].figures()) {
            *s += f;
        }
    }
    sum.map(|s| s / runs.len().max(1) as f64)
}

/// `statistic` of every resample of `cells`; it gets the counts of each run over the same resampled examples.
pub(super) fn resample(
    labels: usize,
    cells: &[Cell],
    bootstrap: Bootstrap,
    statistic: impl Fn(&[Counts]) -> Figures + Sync,
) -> Vec<Figures> {
    let runs = cells.first().map_or(0, |c| c.predicted.len());
    (0..bootstrap.samples)
        .into_par_iter()
        .map_init(
            || vec![Counts::new(labels); runs],
            |counts, sample| {
                counts.iter_mut().for_each(Counts::clear);
                let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
                rng.set_stream(u64::from(sample));
                for _ in 0..cells.len() {
                    let cell = &cells[index(&mut rng, cells.len())];
                    for (count, &predicted) in counts.iter_mut().zip(&cell.predicted) {
                        count.add(cell.gold, predicted);
                    }
                }
                statistic(counts)
            },
        )
        .collect()
}

/// Uniform in `0..len`, by Lemire's multiplication without its rejection step: the bias is below `len / 2^64`.
fn index(rng: &mut ChaCha8Rng, len: usize) -> usize {
    ((u128::from(rng.next_u64()) * len as u128) >> 64) as usize
}

/// The resamples' figures, a column per metric.
pub(super) fn by_metric(draws: &[Figures]) -> [Vec<f64>; 4] {
    std::array::from_fn(|m| draws.iter().map(|d| d[m]).collect())
}

/// The central `level` of `values`.
pub(super) fn interval(mut values: Vec<f64>, level: f64) -> Interval {
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Interval { lo: quantile(&values, tail), hi: quantile(&values, 1.0 - tail) }
}

/// Linear interpolation between order statistics (numpy's default; type 7 of Hyndman & Fan, 1996).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Vec<u32>, Vec<Option<u32>>) {
        let gold: Vec<u32> = (0..200).map(|i| i % 2).collect();
        let predicted = gold.iter().enumerate().map(|(i, g)| Some(if i % 5 == 0 { 1 - g } else { *g })).collect();
        (gold, predicted)
    }

    /// The accuracy's bootstrap distribution is binomial(200, 0.8) / 200: its deviation is 0.0283.
    #[test]
    fn interval_of_accuracy_is_the_binomial_one() {
        let (gold, predicted) = example();
        let got = Intervals::compute(2, &gold, &predicted, Bootstrap::default()).unwrap();
        assert!((got.accuracy.lo - (0.8 - 1.96 * 0.0283)).abs() < 0.01, "{got:?}");
        assert!((got.accuracy.hi - (0.8 + 1.96 * 0.0283)).abs() < 0.01, "{got:?}");
        assert!(got.macro_f1.lo < got.macro_f1.hi);
    }

    #[test]
    fn thread_count_changes_nothing() {
        let (gold, predicted) = example();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let few = Bootstrap { samples: 64, ..Bootstrap::default() };
                Intervals::compute(2, &gold, &predicted, few).unwrap()
            })
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn seed_matters_and_the_mean_of_equal_runs_is_the_run() {
        let (gold, predicted) = example();
        let few = Bootstrap { samples: 64, ..Bootstrap::default() };
        let one = Intervals::compute(2, &gold, &predicted, few).unwrap();
        let other = Intervals::compute(2, &gold, &predicted, Bootstrap { seed: 1, ..few }).unwrap();
        assert_ne!(one.accuracy, other.accuracy);
        assert_eq!(Intervals::of_mean(2, &gold, &[&predicted, &predicted], few).unwrap(), one);
    }

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&values, 0.5), 3.0);
        assert_eq!(quantile(&values, 0.9), 4.0 + 4.0 * (0.9 * 3.0 - 2.0));
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (1.0, 8.0));
    }
}
