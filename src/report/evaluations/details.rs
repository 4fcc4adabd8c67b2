//! What a report says of each task beside its cells: confusion matrices, classes, training curves.

use super::{
    super::format,
    basis::budget,
    document::{ClassRow, Curve, Panel, Task},
    grid::Grid,
    groups::Group,
};
use crate::eval::metrics::Metrics;

pub fn tasks(grid: &Grid) -> Vec<Task> {
    let tasks = grid.all_tasks().into_iter().filter_map(|task| {
        let groups = grid.of_task(&task.name);
        let e = &groups.first()?.3.runs[0].evaluation;
        let mut curves = Vec::new();
        for (model, series, method, group) in &groups {
            for run in &group.runs {
                let Some(training) = run.evaluation.training.as_ref().filter(|t| !t.loss.is_empty()) else {
                    continue;
                };
                let title = grid.row_title(*model, &method.title);
                curves.push(Curve { title, series: *series, loss: training.loss.clone() });
            }
        }
        Some(Task {
            task: task.clone(),
            dataset: e.task.dataset.clone(),
            scheme: e.task.scheme.clone(),
            construct: e.task.construct.clone(),
            language: e.task.language.clone(),
            n: e.n,
            majority_accuracy: e.metrics.majority_accuracy,
            panels: groups
                .iter()
                .map(|(model, series, method, group)| group.panel(grid.row_title(*model, &method.title), *series))
                .collect(),
            missing: grid
                .row_models()
                .into_iter()
                .flat_map(|model| grid.layout.methods.iter().map(move |method| (model, method)))
                .filter(|(model, method)| grid.get(*model, &task.name, &method.name).is_none())
                .map(|(model, method)| grid.row_title(model, &method.title))
                .collect(),
            curves,
        })
    });
    tasks.collect()
}

impl Group<'_> {
    pub fn panel(&self, title: String, series: usize) -> Panel {
        let all: Vec<&Metrics> = self.runs.iter().map(|r| &r.evaluation.metrics).collect();
        let (first, seeds) = (all[0], all.len());
        let k = first.labels.len();
        let confusion: Vec<Vec<u64>> =
            (0..k).map(|g| (0..k).map(|p| all.iter().map(|m| m.confusion[g][p]).sum()).collect()).collect();
        let support: Vec<u64> = (0..k).map(|g| all.iter().map(|m| m.per_class[g].support).sum()).collect();
        let unparsable = (0..k).map(|g| support[g] - confusion[g].iter().sum::<u64>()).collect();
        let mean = |read: &dyn Fn(&Metrics) -> f64| all.iter().map(|m| read(m)).sum::<f64>() / seeds as f64;
        let per_class = (0..k).map(|c| ClassRow {
            label: first.labels[c].clone(),
            precision: mean(&|m| m.per_class[c].precision),
            recall: mean(&|m| m.per_class[c].recall),
            f1: mean(&|m| m.per_class[c].f1),
            support: first.per_class[c].support,
        });
        let mut facts: Vec<String> = [budget(&self.runs)].into_iter().filter(|b| !b.is_empty()).collect();
        let truncated = self.runs.iter().map(|r| r.evaluation.truncated).max().unwrap_or(0);
        if truncated > 0 {
            facts.push(format!("{} cut to fit the context", format::plural(truncated, "sentence")));
        }
        Panel {
            anchor: self.anchor(),
            title,
            series,
            accuracy: mean(&|m| m.accuracy),
            interval: self.intervals.accuracy,
            labels: first.labels.clone(),
            per_class: per_class.collect(),
            confusion,
            unparsable,
            support,
            seeds,
            facts,
            digests: self.runs.iter().map(|r| r.digest.to_string()).collect(),
        }
    }
}
