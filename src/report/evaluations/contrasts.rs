//! Adapted models against the baseline: paired tests, corrected for their number, and verdicts.

use super::{
    document::{Contrast, MethodVerdict, PairedTests, Verdict},
    grid::Grid,
    groups::Group,
};
use crate::{
    base::error::Result,
    eval::{
        bootstrap::Bootstrap,
        metrics::Metric,
        significance::{Comparison, holm},
    },
};

/// Adjusted p-values below this count as significant.
pub const SIGNIFICANT: f64 = 0.05;

/// What a candidate must beat the baseline in.
pub const COMPARED: [Metric; 2] = [Metric::Accuracy, Metric::MacroF1];

/// # Errors
/// As [`Comparison::compute`].
pub fn contrasts(grid: &Grid) -> Result<Vec<Contrast>> {
    let mut contrasts = Vec::new();
    for model in grid.row_models() {
        for task in grid.all_tasks() {
            let base = grid.get(model, &task.name, &grid.baseline.name);
            for method in grid.layout.methods.iter().filter(|m| m.name != grid.baseline.name) {
                let candidate = grid.get(model, &task.name, &method.name);
                let tests = match (base, candidate) {
                    (Some(base), Some(candidate)) => Some(compare(base, candidate, grid.layout.comparison)?),
                    _ => None,
                };
                contrasts.push(Contrast {
                    model: model.filter(|_| grid.models.len() > 1).map(|m| m.title.clone()),
                    task: task.clone(),
                    method: method.clone(),
                    tests,
                    verdict: Verdict::Missing,
                });
            }
        }
    }
    let mut tested: Vec<&mut PairedTests> = contrasts.iter_mut().filter_map(|c| c.tests.as_mut()).collect();
    let accuracy = holm(&tested.iter().map(|t| t.mcnemar.p).collect::<Vec<_>>());
    let macro_f1 = holm(&tested.iter().map(|t| t.macro_f1.p).collect::<Vec<_>>());
    for ((tests, accuracy), macro_f1) in tested.iter_mut().zip(accuracy).zip(macro_f1) {
        tests.accuracy_p = accuracy;
        tests.macro_f1_p = macro_f1;
    }
    for contrast in &mut contrasts {
        contrast.verdict = contrast.tests.as_ref().map_or(Verdict::Missing, PairedTests::verdict);
    }
    Ok(contrasts)
}

pub fn verdicts(grid: &Grid, contrasts: &[Contrast]) -> Vec<MethodVerdict> {
    let methods = grid.layout.methods.iter().filter(|m| m.name != grid.baseline.name);
    methods
        .map(|method| {
            let of = |wanted: &[Verdict]| {
                contrasts.iter().filter(|c| c.method == *method && wanted.contains(&c.verdict)).count()
            };
            let (better, unproven) = (of(&[Verdict::Better]), of(&[Verdict::Unproven]));
            let not_better = of(&[Verdict::NotBetter, Verdict::Worse]);
            MethodVerdict {
                method: method.clone(),
                of: better + unproven + not_better,
                better,
                unproven,
                not_better,
                missing: of(&[Verdict::Missing]),
            }
        })
        .collect()
}

impl PairedTests {
    fn verdict(&self) -> Verdict {
        let tested = [(self.accuracy.value, self.accuracy_p), (self.macro_f1.value, self.macro_f1_p)];
        if tested.iter().any(|(value, p)| *value < 0.0 && *p < SIGNIFICANT) {
            Verdict::Worse
        } else if !self.behind_in.is_empty() {
            Verdict::NotBetter
        } else if tested.iter().all(|(_, p)| *p < SIGNIFICANT) {
            Verdict::Better
        } else {
            Verdict::Unproven
        }
    }
}

/// The two sides' examples were checked to be the same when they were grouped.
fn compare(base: &Group, candidate: &Group, bootstrap: Bootstrap) -> Result<PairedTests> {
    let first = base.runs[0];
    let labels = first.evaluation.metrics.labels.len();
    let c = Comparison::compute(
        labels,
        first.predictions.gold(),
        &base.predictions(),
        &candidate.predictions(),
        bootstrap,
    )?;
    let behind = COMPARED.into_iter().filter(|m| c.get(*m).value <= 0.0);
    Ok(PairedTests {
        accuracy: c.get(Metric::Accuracy),
        macro_f1: c.get(Metric::MacroF1),
        mcnemar: c.mcnemar,
        accuracy_p: 1.0,
        macro_f1_p: 1.0,
        behind_in: behind.map(Metric::title).collect(),
    })
}
