//! Evaluations sorted into cells: the runs of one model, task and method, by seed.

use std::collections::BTreeMap;

use super::{
    document::{Cell, Model, seed_text},
    evidence::{Evidence, Run},
};
use crate::{
    base::error::{Error, Result},
    eval::{ModelContext, bootstrap::Intervals, metrics::Metric, significance::spread},
};

/// The runs of one cell, by seed.
pub struct Group<'a> {
    pub runs: Vec<&'a Run>,
    /// Of the mean over seeds.
    pub intervals: Intervals,
}

/// Model, task, method.
pub type Key = [String; 3];

pub type Groups<'a> = BTreeMap<Key, Group<'a>>;

pub fn key(model: &str, task: &str, method: &str) -> Key {
    [model, task, method].map(str::to_owned)
}

/// Sorts runs into cells, and checks that those of a task can be compared.
pub fn group(evidence: &Evidence) -> Result<Groups<'_>> {
    let mut cells: BTreeMap<Key, Vec<&Run>> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, &Run> = BTreeMap::new();
    let mut runs: Vec<&Run> = evidence.runs.iter().collect();
    runs.sort_by_key(|r| (r.evaluation.seed, r.digest));
    for run in runs {
        let e = &run.evaluation;
        let (n, have) = (e.metrics.n, run.predictions.gold().len());
        if n != have {
            return Err(Error::input(format!(
                "evaluation {} has metrics of {n} examples and predictions for {have}",
                run.digest.short()
            ))
            .help("run the stage that made it again with `--force`"));
        }
        let first = *tasks.entry(&e.task.name).or_insert(run);
        if first.evaluation.metrics.labels != e.metrics.labels || !first.predictions.same_examples(&run.predictions) {
            return Err(Error::input(format!(
                "evaluations of task `{}` were made on different examples: {} of {} (artifact {}) and {} of {} (artifact {})",
                e.task.name,
                first.evaluation.n,
                first.evaluation.method.name,
                first.digest.short(),
                e.n,
                e.method.name,
                run.digest.short()
            ))
            .help("give all evaluations of a task the same split and the same limit, so that their figures can be compared"));
        }
        cells.entry(key(&e.model.name, &e.task.name, &e.method.name)).or_default().push(run);
    }
    cells
        .into_iter()
        .map(|(key, runs)| {
            if let Some(pair) = runs.windows(2).find(|w| w[0].evaluation.seed == w[1].evaluation.seed) {
                let [model, task, method] = &key;
                let seed = seed_text(pair[0].evaluation.seed);
                return Err(Error::input(format!(
                    "two evaluations of model `{model}`, task `{task}`, method `{method}`, seed {seed}: artifacts {} and {}",
                    pair[0].digest.short(),
                    pair[1].digest.short()
                ))
                .help("name the stages that feed the report once, and give each variant a method of its own"));
            }
            let intervals = match runs.as_slice() {
                [one] => one.evaluation.intervals.clone(),
                many => {
                    let e = &many[0].evaluation;
                    let predicted: Vec<_> = many.iter().map(|r| r.predictions.predicted()).collect();
                    let gold = many[0].predictions.gold();
                    Intervals::of_mean(e.metrics.labels.len(), gold, &predicted, e.intervals.bootstrap)?
                }
            };
            Ok((key, Group { runs, intervals }))
        })
        .collect()
}

pub fn models(evidence: &Evidence) -> Result<Vec<Model>> {
    let mut models: BTreeMap<&str, &ModelContext> = BTreeMap::new();
    for run in &evidence.runs {
        let model = &run.evaluation.model;
        if *models.entry(&model.name).or_insert(model) != model {
            return Err(Error::internal(format!("model `{}` has two titles or licenses", model.name)));
        }
    }
    let model = |m: &ModelContext| Model { name: m.name.clone(), title: m.title.clone(), license: m.license.clone() };
    Ok(models.into_values().map(model).collect())
}

impl Group<'_> {
    pub fn cell(&self, metric: Metric) -> Option<Cell> {
        let values: Vec<f64> = self.runs.iter().map(|r| r.evaluation.metrics.get(metric)).collect();
        let over_seeds = spread(&values)?;
        Some(Cell {
            mean: over_seeds.mean,
            deviation: over_seeds.deviation,
            seeds: over_seeds.n,
            interval: self.intervals.get(metric),
            n: self.runs[0].evaluation.n,
            best: false,
            anchor: self.anchor(),
        })
    }

    pub fn anchor(&self) -> String {
        let e = &self.runs[0].evaluation;
        format!("{}--{}--{}", e.task.name, e.method.name, e.model.name)
    }

    pub fn predictions(&self) -> Vec<&[Option<u32>]> {
        self.runs.iter().map(|r| r.predictions.predicted()).collect()
    }
}
