//! Evaluations sorted into cells: the runs of one model, task and method, by seed.

use std::collections::BTreeMap;

use super::{
    cells::Cell,
    document::{Model, seed_text},
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

/// Whether a run's predictions are those that its metrics were computed from.
///
/// # Errors
/// If their numbers differ.
pub fn whole(run: &Run) -> Result<()> {
    let (n, have) = (run.evaluation.metrics.n, run.predictions.gold().len());
    if n == have {
        return Ok(());
    }
    Err(Error::input(format!(
        "evaluation {} has metrics of {n} examples and predictions for {have}",
        run.digest.short()
    ))
    .help("run the stage that made it again with `--force`"))
}

fn comparable(a: &Run, b: &Run) -> bool {
    a.evaluation.metrics.labels == b.evaluation.metrics.labels && a.predictions.same_examples(&b.predictions)
}

fn different(first: &Run, other: &Run) -> Error {
    let of = |run: &Run| {
        let e = &run.evaluation;
        format!("{} of {} (artifact {})", e.n, e.method.name, run.digest.short())
    };
    let task = &other.evaluation.task.name;
    Error::input(format!(
        "evaluations of task `{task}` were made on different examples: {} and {}",
        of(first),
        of(other)
    ))
    .help("give all evaluations of a task the same split and the same limit, so that their figures can be compared")
}

/// Sorts runs into cells, and checks that those of a task can be compared.
///
/// # Errors
/// If a run has other predictions than its metrics count, two runs of a task can't be compared, or two of a cell have
/// one seed.
pub fn group<'a>(runs: &[&'a Run]) -> Result<Groups<'a>> {
    let mut cells: BTreeMap<Key, Vec<&Run>> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, &Run> = BTreeMap::new();
    let mut runs = runs.to_vec();
    runs.sort_by_key(|r| (r.evaluation.seed, r.digest));
    for run in runs {
        let e = &run.evaluation;
        whole(run)?;
        let first = *tasks.entry(&e.task.name).or_insert(run);
        if !comparable(first, run) {
            return Err(different(first, run));
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
            Ok((key, Group::of(runs)?))
        })
        .collect()
}

/// # Errors
/// If one has two titles or licenses.
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

impl<'a> Group<'a> {
    /// The group of these runs, of which there is at least one.
    ///
    /// # Errors
    /// If they were made on different examples.
    pub fn of(runs: Vec<&'a Run>) -> Result<Self> {
        let first = runs[0];
        if let Some(other) = runs.iter().find(|run| !comparable(first, run)) {
            return Err(different(first, other));
        }
        let intervals = match runs.as_slice() {
            [one] => one.evaluation.intervals.clone(),
            many => {
                let e = &first.evaluation;
                let predicted: Vec<_> = many.iter().map(|r| r.predictions.predicted()).collect();
                Intervals::of_mean(e.metrics.labels.len(), first.predictions.gold(), &predicted, e.intervals.bootstrap)?
            }
        };
        Ok(Self { runs, intervals })
    }

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
