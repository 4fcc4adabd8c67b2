//! Evidence and a layout become a report: every figure, best cell, test and note is decided here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    evidence::{DatasetFacts, Evidence, Run},
    format::{self, MISSING},
    layout::{Choice, Layout, Named, Publication, TableLayout, TaskColumns},
    published::{self, Gap, Line},
    text::on_lines,
};
use crate::{
    error::{Error, Result},
    eval::{
        Evaluation, ModelContext,
        bootstrap::{Bootstrap, Interval, Intervals},
        metrics::{Metric, Metrics},
        significance::{Comparison, Difference, McNemar, holm, spread},
    },
};

/// Adjusted p-values below this count as significant.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// What a candidate must beat the baseline in.
pub(super) const COMPARED: [Metric; 2] = [Metric::Accuracy, Metric::MacroF1];

#[derive(Debug, Serialize)]
pub struct Report {
    pub title: String,
    pub intro: String,
    pub notes: Vec<String>,
    pub methods: Vec<Named>,
    pub baseline: Named,
    pub models: Vec<Model>,
    pub tables: Vec<Table>,
    /// Model by model, task by task, in the order of the methods.
    pub contrasts: Vec<Contrast>,
    pub verdicts: Vec<MethodVerdict>,
    /// Resamples of the contrasts' bootstrap.
    pub resamples: u32,
    pub tasks: Vec<Task>,
    pub datasets: Vec<DatasetFacts>,
    pub results: Vec<ResultRow>,
    /// Constructs that were measured, with the titles of their tasks.
    pub constructs: Vec<(String, Vec<String>)>,
    /// Evaluations that no table shows, as `method on task`.
    pub unplaced: Vec<String>,
    /// How to cite what the published rows of the tables were copied from; none where there are none.
    pub publication: Option<String>,
    pub choices: Vec<Choice>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Model {
    pub name: String,
    pub title: String,
    pub license: String,
}

#[derive(Debug, Serialize)]
pub struct Table {
    pub name: String,
    pub title: String,
    pub tasks: Vec<TaskHead>,
    /// Of every column whether it is the first of its task.
    pub starts: Vec<bool>,
    pub published: Vec<Line>,
    pub rows: Vec<Row>,
    /// What always answering the most frequent label of the test examples scores, a figure per column.
    pub majority: Vec<Option<f64>>,
    /// What the figures rest on, one sentence group a line.
    pub basis: Vec<String>,
    /// Cells without a figure, as `method on task`.
    pub missing: Vec<String>,
    pub sources: Vec<Source>,
}

/// A group of columns.
#[derive(Debug, Serialize)]
pub struct TaskHead {
    pub name: String,
    pub title: String,
    pub metrics: Vec<MetricName>,
}

#[derive(Debug, Serialize)]
pub struct MetricName {
    pub name: &'static str,
    pub title: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub title: String,
    pub method: String,
    pub model: Option<String>,
    /// Task by task, metric by metric.
    pub cells: Vec<Option<Cell>>,
    /// Against the published figures of the method; empty where no column can be compared.
    pub gaps: Vec<Option<Gap>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    pub mean: f64,
    /// Over seeds; none for one seed.
    pub deviation: Option<f64>,
    pub seeds: usize,
    pub interval: Interval,
    pub n: usize,
    /// Nothing in its column is higher, to the two decimals that are shown.
    pub best: bool,
    /// Of the panel with the details.
    pub anchor: String,
}

/// An evaluation behind a table.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    pub task: String,
    pub method: String,
    pub seed: Option<i64>,
    pub digest: String,
}

/// An adapted model against the baseline on one task.
#[derive(Debug, Serialize)]
pub struct Contrast {
    pub model: Option<String>,
    pub task: Named,
    pub method: Named,
    /// None where either side is missing.
    pub outcome: Option<Outcome>,
    pub verdict: Verdict,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub accuracy: Difference,
    pub macro_f1: Difference,
    pub mcnemar: McNemar,
    /// Holm-corrected McNemar p-value, over all contrasts of the report.
    pub accuracy_p: f64,
    /// Holm-corrected bootstrap p-value, over all contrasts of the report.
    pub macro_f1_p: f64,
    /// Metrics in which the candidate is not ahead.
    pub behind_in: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Ahead in both metrics, significantly.
    Better,
    /// Ahead in both metrics, but chance is not ruled out for both.
    Unproven,
    /// Not ahead in at least one metric.
    NotBetter,
    /// Significantly behind in at least one metric.
    Worse,
    Missing,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Unproven => "ahead, not significant",
            Self::NotBetter => "not better",
            Self::Worse => "worse",
            Self::Missing => MISSING,
        }
    }
}

/// How often a method beats the baseline.
#[derive(Debug, Serialize)]
pub struct MethodVerdict {
    pub method: Named,
    /// Contrasts that could be made.
    pub of: usize,
    pub better: usize,
    pub unproven: usize,
    pub not_better: usize,
    pub missing: usize,
}

/// Everything about one task that isn't a table cell.
#[derive(Debug, Serialize)]
pub struct Task {
    pub task: Named,
    pub dataset: String,
    pub scheme: String,
    pub construct: String,
    pub language: String,
    pub n: usize,
    pub majority_accuracy: f64,
    pub panels: Vec<Panel>,
    /// Rows that have no panel.
    pub missing: Vec<String>,
    pub curves: Vec<Curve>,
}

/// One model and method on a task, all seeds together.
#[derive(Debug, Serialize)]
pub struct Panel {
    pub anchor: String,
    pub title: String,
    /// Position of the method among the report's.
    pub series: usize,
    pub accuracy: f64,
    pub interval: Interval,
    pub labels: Vec<String>,
    /// Sum over seeds, `[gold][predicted]`.
    pub confusion: Vec<Vec<u64>>,
    /// Sum over seeds, per gold label.
    pub unparsable: Vec<u64>,
    pub support: Vec<u64>,
    /// Mean over seeds.
    pub per_class: Vec<ClassRow>,
    pub seeds: usize,
    pub facts: Vec<String>,
    pub digests: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct ClassRow {
    pub label: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub support: u64,
}

/// One training's loss per optimiser step.
#[derive(Debug, Serialize)]
pub struct Curve {
    pub title: String,
    pub series: usize,
    pub loss: Vec<f32>,
}

/// A line of the long table.
#[derive(Debug, Serialize)]
pub struct ResultRow {
    pub evaluation: Evaluation,
    pub digest: String,
}

/// The runs of one cell, by seed.
struct Group<'a> {
    runs: Vec<&'a Run>,
    /// Of the mean over seeds.
    intervals: Intervals,
}

/// Model, task, method.
type Key = [String; 3];

type Groups<'a> = BTreeMap<Key, Group<'a>>;

fn key(model: &str, task: &str, method: &str) -> Key {
    [model, task, method].map(str::to_owned)
}

impl Report {
    /// # Errors
    /// If two evaluations fill the same cell, those of one task were made on different examples, or a prediction names
    /// no label.
    pub fn build(layout: &Layout, evidence: &Evidence) -> Result<Self> {
        let (layout, evidence) = (&on_lines(layout)?, &evidence.on_lines()?);
        let groups = group(evidence)?;
        let models = models(evidence)?;
        let baseline = layout.methods.iter().find(|m| m.name == layout.baseline).cloned().ok_or_else(|| {
            Error::input(format!("the baseline `{}` is not among the report's methods", layout.baseline))
        })?;
        let builder = Builder { layout, groups: &groups, models: &models, baseline: &baseline };
        let tables: Vec<_> = layout.tables.iter().map(|t| builder.table(t)).collect();
        let contrasts = builder.contrasts()?;
        let mut datasets = evidence.datasets.clone();
        datasets.sort();
        datasets.dedup();
        Ok(Self {
            title: layout.title.clone(),
            intro: layout.intro.clone(),
            notes: layout.notes.iter().cloned().chain(local_copies(&datasets)).collect(),
            methods: layout.methods.clone(),
            verdicts: builder.verdicts(&contrasts),
            resamples: layout.comparison.samples,
            tasks: builder.tasks(),
            results: builder.results(),
            constructs: builder.constructs(),
            unplaced: builder.unplaced(),
            publication: builder.publication().map(|p| p.title.clone()),
            choices: layout.choices.clone(),
            tables,
            contrasts,
            datasets,
            baseline,
            models,
        })
    }
}

/// A note on the files that aren't those that their cards name.
fn local_copies(datasets: &[DatasetFacts]) -> Option<String> {
    let files = datasets.iter().flat_map(|d| d.local.iter().map(move |file| format!("`{file}` of {}", d.dataset)));
    let files: Vec<String> = files.collect::<BTreeSet<_>>().into_iter().collect();
    (!files.is_empty()).then(|| format!("Local copies, not the canonical bytes: {}.", format::list(&files)))
}

/// Sorts runs into cells, and checks that those of a task can be compared.
fn group(evidence: &Evidence) -> Result<Groups<'_>> {
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

fn models(evidence: &Evidence) -> Result<Vec<Model>> {
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

pub(super) fn seed_text(seed: Option<i64>) -> String {
    seed.map_or_else(|| "none".to_owned(), |s| s.to_string())
}

struct Builder<'a> {
    layout: &'a Layout,
    groups: &'a Groups<'a>,
    models: &'a [Model],
    baseline: &'a Named,
}

impl<'a> Builder<'a> {
    /// The models to make rows for: none known still makes rows, of missing cells.
    fn row_models(&self) -> Vec<Option<&'a Model>> {
        if self.models.is_empty() { vec![None] } else { self.models.iter().map(Some).collect() }
    }

    fn get(&self, model: Option<&Model>, task: &str, method: &str) -> Option<&'a Group<'a>> {
        self.groups.get(&key(&model?.name, task, method))
    }

    /// The model is named only where there are several.
    fn row_title(&self, model: Option<&Model>, method: &str) -> String {
        match model {
            Some(model) if self.models.len() > 1 => format!("{} ({method})", model.title),
            _ => method.to_owned(),
        }
    }

    /// Tasks of all tables, each once, in the order of the tables.
    fn all_tasks(&self) -> Vec<&'a Named> {
        let mut seen = BTreeSet::new();
        let tasks = self.layout.tables.iter().flat_map(|t| &t.tasks).map(|c| &c.task);
        tasks.filter(|t| seen.insert(&t.name)).collect()
    }

    /// All groups of a task: model by model, methods in the order of the rows.
    fn of_task(&self, task: &str) -> Vec<(Option<&'a Model>, usize, &'a Named, &'a Group<'a>)> {
        let mut out = Vec::new();
        for model in self.row_models() {
            for (series, method) in self.layout.methods.iter().enumerate() {
                out.extend(self.get(model, task, &method.name).map(|g| (model, series, method, g)));
            }
        }
        out
    }

    /// Where there are published figures to show.
    fn publication(&self) -> Option<&'a Publication> {
        self.layout.publication.as_ref().filter(|_| self.layout.tables.iter().any(|t| !t.published.is_empty()))
    }

    fn table(&self, layout: &TableLayout) -> Table {
        let mut rows = Vec::new();
        let mut missing = Vec::new();
        let mut sources = Vec::new();
        for model in self.row_models() {
            for method in &self.layout.methods {
                let title = self.row_title(model, &method.title);
                let published = published::of_method(layout, &method.name);
                let (mut cells, mut gaps) = (Vec::new(), Vec::new());
                for columns in &layout.tasks {
                    let task = &columns.task;
                    let group = self.get(model, &task.name, &method.name);
                    if group.is_none() {
                        missing.push(format!("{title} on {}", task.title));
                    }
                    sources.extend(group.into_iter().flat_map(|g| &g.runs).map(|run| Source {
                        task: task.title.clone(),
                        method: title.clone(),
                        seed: run.evaluation.seed,
                        digest: run.digest.to_string(),
                    }));
                    let comparable = group.is_some_and(|g| self.obstacles(g).is_some_and(|found| found.is_empty()));
                    for metric in &columns.metrics {
                        let cell = group.and_then(|g| g.cell(*metric));
                        let published = published.filter(|_| comparable).and_then(|p| p.get(cells.len()).copied()?);
                        let gap = cell.as_ref().zip(published);
                        gaps.push(gap.map(|(c, p)| Gap::new(c.mean, c.interval, p / 100.0)));
                        cells.push(cell);
                    }
                }
                if gaps.iter().all(Option::is_none) {
                    gaps.clear();
                }
                rows.push(Row {
                    title,
                    method: method.name.clone(),
                    model: model.map(|m| m.title.clone()),
                    cells,
                    gaps,
                });
            }
        }
        mark_best(&mut rows);
        let majority = layout.tasks.iter().flat_map(|columns| {
            let metrics = self.of_task(&columns.task.name).first().map(|(.., g)| &g.runs[0].evaluation.metrics);
            columns.metrics.iter().map(move |m| metrics.map(|have| have.majority(*m)))
        });
        let head = |metric: &Metric| MetricName { name: metric.name(), title: metric.title() };
        let tasks = layout.tasks.iter().map(|columns| TaskHead {
            name: columns.task.name.clone(),
            title: columns.task.title.clone(),
            metrics: columns.metrics.iter().map(head).collect(),
        });
        Table {
            name: layout.name.clone(),
            title: layout.title.clone(),
            tasks: tasks.collect(),
            starts: layout.tasks.iter().flat_map(|c| (0..c.metrics.len()).map(|i| i == 0)).collect(),
            published: published::lines(layout),
            majority: majority.collect(),
            basis: self.basis(layout),
            rows,
            missing,
            sources,
        }
    }

    /// What keeps the runs of a cell from being compared with published figures; None where there are none to compare.
    fn obstacles(&self, group: &Group) -> Option<BTreeSet<String>> {
        let publication = self.publication()?;
        Some(group.runs.iter().flat_map(|r| published::obstacles(publication, &r.evaluation)).collect())
    }

    /// What the published rows of a table are, and why some columns have no difference to them.
    fn published_basis(&self, layout: &TableLayout, groups: &[&Group]) -> Option<String> {
        let publication = self.publication().filter(|_| !layout.published.is_empty())?;
        let obstacles: BTreeSet<String> = groups.iter().filter_map(|g| self.obstacles(g)).flatten().collect();
        let obstacles: Vec<String> = obstacles.into_iter().collect();
        let mut line = format!("Published rows are copied from {}; `-`: not given there.", publication.title);
        if groups.iter().any(|g| self.obstacles(g).is_some_and(|found| found.is_empty())) {
            line.push_str(
                " `ours − published` is in percentage points; its interval is ours, shifted, since none was published.",
            );
        }
        if !obstacles.is_empty() {
            line.push_str(&format!(
                " No difference is shown where ours was made otherwise: {}.",
                format::list(&obstacles)
            ));
        }
        Some(line)
    }

    /// Backbone, data, budget, numerics, seeds and intervals of a table.
    fn basis(&self, layout: &TableLayout) -> Vec<String> {
        let groups: Vec<_> = layout.tasks.iter().flat_map(|c| self.of_task(&c.task.name)).collect();
        let runs: Vec<&Run> = groups.iter().flat_map(|(.., g)| g.runs.iter().copied()).collect();
        let published = self.published_basis(layout, &groups.iter().map(|(.., g)| *g).collect::<Vec<_>>());
        let Some(first) = runs.first() else {
            return std::iter::once("No evaluation reached this table.".to_owned()).chain(published).collect();
        };
        let distinct = |read: &dyn Fn(&Evaluation) -> String| {
            let values: BTreeSet<String> = runs.iter().map(|r| read(&r.evaluation)).collect();
            values.into_iter().collect::<Vec<_>>().join(", ")
        };
        let mut lines = vec![format!(
            "Backbone: {}, frozen. Numerics: {}. Answers: {}.",
            distinct(&|e| format!("{} ({})", e.model.title, e.model.license)),
            distinct(&|e| e.numerics.clone()),
            distinct(&|e| e.answer.clone())
        )];
        let unparsable = groups.iter().filter_map(|(model, _, method, g)| {
            let count = |r: &&Run| r.evaluation.metrics.unparsable;
            let (all, wrong): (u64, u64) =
                (g.runs.iter().map(|r| r.evaluation.n as u64).sum(), g.runs.iter().map(count).sum());
            let e = &g.runs[0].evaluation;
            let row = self.row_title(*model, &method.title);
            let of = format::count(all);
            (wrong > 0).then(|| format!("{row} on {} {} of {of}", e.task.title, format::count(wrong)))
        });
        let unparsable: Vec<_> = unparsable.collect();
        if !unparsable.is_empty() {
            lines.push(format!("Answers that name no label, counted as wrong: {}.", unparsable.join("; ")));
        }
        let truncated: BTreeSet<String> = runs
            .iter()
            .filter(|r| r.evaluation.truncated > 0)
            .map(|r| format!("{} {}", r.evaluation.task.title, format::count(r.evaluation.truncated as u64)))
            .collect();
        if !truncated.is_empty() {
            let truncated: Vec<_> = truncated.into_iter().collect();
            lines.push(format!("Test sentences cut to fit `max_tokens` or the context: {}.", truncated.join("; ")));
        }
        let data = layout.tasks.iter().filter_map(|TaskColumns { task, .. }| {
            let e = &self.of_task(&task.name).first()?.3.runs[0].evaluation;
            let n = format::plural(e.n, &format!("{} example", e.split));
            Some(format!("{}: {} ({}), {n}", task.title, e.task.dataset, e.task.scheme))
        });
        lines.push(format!("Data: {}.", data.collect::<Vec<_>>().join("; ")));
        let budgets = self.layout.methods.iter().filter_map(|method| {
            let of_method = groups.iter().filter(|(_, _, m, _)| m.name == method.name);
            let runs: Vec<&Run> = of_method.flat_map(|(.., g)| g.runs.iter().copied()).collect();
            let budget = budget(&runs);
            (!budget.is_empty()).then(|| format!("{}: {budget}", method.title))
        });
        let budgets: Vec<_> = budgets.collect();
        if !budgets.is_empty() {
            lines.push(format!("Budget: {}.", budgets.join("; ")));
        }
        let seeds: BTreeSet<i64> = runs.iter().filter_map(|r| r.evaluation.seed).collect();
        let seeds: Vec<String> = seeds.iter().map(i64::to_string).collect();
        let bootstrap = first.evaluation.intervals.bootstrap;
        lines.push(format!(
            "Seeds: {}. Brackets: {}% confidence interval, percentile bootstrap over the test examples ({} resamples).{}",
            if seeds.is_empty() { "none (nothing is drawn at random)".to_owned() } else { seeds.join(", ") },
            (bootstrap.level * 100.0).round(),
            format::count(bootstrap.samples.into()),
            if groups.iter().any(|(.., g)| g.runs.len() > 1) {
                " ± is the sample deviation over seeds; the figure before it is their mean."
            } else {
                ""
            }
        ));
        lines.extend(published);
        lines
    }

    fn contrasts(&self) -> Result<Vec<Contrast>> {
        let mut contrasts = Vec::new();
        for model in self.row_models() {
            for task in self.all_tasks() {
                let base = self.get(model, &task.name, &self.baseline.name);
                for method in self.layout.methods.iter().filter(|m| m.name != self.baseline.name) {
                    let candidate = self.get(model, &task.name, &method.name);
                    let outcome = match (base, candidate) {
                        (Some(base), Some(candidate)) => Some(compare(base, candidate, self.layout.comparison)?),
                        _ => None,
                    };
                    contrasts.push(Contrast {
                        model: model.filter(|_| self.models.len() > 1).map(|m| m.title.clone()),
                        task: task.clone(),
                        method: method.clone(),
                        outcome,
                        verdict: Verdict::Missing,
                    });
                }
            }
        }
        let mut outcomes: Vec<&mut Outcome> = contrasts.iter_mut().filter_map(|c| c.outcome.as_mut()).collect();
        let accuracy = holm(&outcomes.iter().map(|o| o.mcnemar.p).collect::<Vec<_>>());
        let macro_f1 = holm(&outcomes.iter().map(|o| o.macro_f1.p).collect::<Vec<_>>());
        for ((outcome, accuracy), macro_f1) in outcomes.iter_mut().zip(accuracy).zip(macro_f1) {
            outcome.accuracy_p = accuracy;
            outcome.macro_f1_p = macro_f1;
        }
        for contrast in &mut contrasts {
            contrast.verdict = contrast.outcome.as_ref().map_or(Verdict::Missing, Outcome::verdict);
        }
        Ok(contrasts)
    }

    fn verdicts(&self, contrasts: &[Contrast]) -> Vec<MethodVerdict> {
        let methods = self.layout.methods.iter().filter(|m| m.name != self.baseline.name);
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

    fn tasks(&self) -> Vec<Task> {
        let tasks = self.all_tasks().into_iter().filter_map(|task| {
            let groups = self.of_task(&task.name);
            let e = &groups.first()?.3.runs[0].evaluation;
            let mut curves = Vec::new();
            for (model, series, method, group) in &groups {
                for run in &group.runs {
                    let Some(training) = run.evaluation.training.as_ref().filter(|t| !t.loss.is_empty()) else {
                        continue;
                    };
                    let title = self.row_title(*model, &method.title);
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
                    .map(|(model, series, method, group)| group.panel(self.row_title(*model, &method.title), *series))
                    .collect(),
                missing: self
                    .row_models()
                    .into_iter()
                    .flat_map(|model| self.layout.methods.iter().map(move |method| (model, method)))
                    .filter(|(model, method)| self.get(*model, &task.name, &method.name).is_none())
                    .map(|(model, method)| self.row_title(model, &method.title))
                    .collect(),
                curves,
            })
        });
        tasks.collect()
    }

    /// All evaluations: placed ones in the order of the tables, then the rest by name.
    fn results(&self) -> Vec<ResultRow> {
        let task_order: Vec<_> = self.all_tasks().iter().map(|t| t.name.as_str()).collect();
        let method_order: Vec<_> = self.layout.methods.iter().map(|m| m.name.as_str()).collect();
        let place = |order: &[&str], name: &str| order.iter().position(|n| *n == name).unwrap_or(order.len());
        let mut keys: Vec<&Key> = self.groups.keys().collect();
        keys.sort_by_cached_key(|[model, task, method]| {
            (place(&task_order, task), task, model, place(&method_order, method), method)
        });
        let runs = keys.into_iter().flat_map(|key| &self.groups[key].runs);
        runs.map(|r| ResultRow { evaluation: r.evaluation.clone(), digest: r.digest.to_string() }).collect()
    }

    fn constructs(&self) -> Vec<(String, Vec<String>)> {
        let mut constructs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for task in self.all_tasks() {
            if let Some((.., group)) = self.of_task(&task.name).first() {
                let construct = group.runs[0].evaluation.task.construct.as_str();
                constructs.entry(construct).or_default().push(task.title.clone());
            }
        }
        constructs.into_iter().map(|(c, tasks)| (c.to_owned(), tasks)).collect()
    }

    fn unplaced(&self) -> Vec<String> {
        let (tasks, methods) = (self.all_tasks(), &self.layout.methods);
        let placed =
            |task: &str, method: &str| tasks.iter().any(|t| t.name == task) && methods.iter().any(|m| m.name == method);
        let all = self.groups.keys().filter(|[_, task, method]| !placed(task, method));
        all.map(|[_, task, method]| format!("{method} on {task}")).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Group<'_> {
    fn cell(&self, metric: Metric) -> Option<Cell> {
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

    fn anchor(&self) -> String {
        let e = &self.runs[0].evaluation;
        format!("{}--{}--{}", e.task.name, e.method.name, e.model.name)
    }

    fn panel(&self, title: String, series: usize) -> Panel {
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

    fn predictions(&self) -> Vec<&[Option<u32>]> {
        self.runs.iter().map(|r| r.predictions.predicted()).collect()
    }
}

impl Outcome {
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
fn compare(base: &Group, candidate: &Group, bootstrap: Bootstrap) -> Result<Outcome> {
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
    Ok(Outcome {
        accuracy: c.get(Metric::Accuracy),
        macro_f1: c.get(Metric::MacroF1),
        mcnemar: c.mcnemar,
        accuracy_p: 1.0,
        macro_f1_p: 1.0,
        behind_in: behind.map(Metric::title).collect(),
    })
}

fn mark_best(rows: &mut [Row]) {
    let columns = rows.first().map_or(0, |r| r.cells.len());
    for column in 0..columns {
        let shown = |row: &Row| row.cells[column].as_ref().map(|c| (c.mean * 1e4).round() as i64);
        let values: Vec<i64> = rows.iter().filter_map(shown).collect();
        let Some(best) = values.iter().max().filter(|_| values.len() > 1) else { continue };
        let winners: Vec<usize> = (0..rows.len()).filter(|r| shown(&rows[*r]) == Some(*best)).collect();
        for row in winners {
            if let Some(cell) = &mut rows[row].cells[column] {
                cell.best = true;
            }
        }
    }
}

/// `150 steps of 16, 1.20 passes over 2,000 examples, learning rate 1e-3, 460,800 trainable parameters`; ranges where
/// runs differ, empty where nothing was trained.
fn budget(runs: &[&Run]) -> String {
    let trained: Vec<_> = runs.iter().filter_map(|r| r.evaluation.training.as_ref()).collect();
    if trained.is_empty() {
        return String::new();
    }
    format!(
        "{} steps of {}, {} passes over {} examples, learning rate {}, {} trainable parameters",
        format::range(trained.iter().map(|t| t.steps), format::count),
        format::range(trained.iter().map(|t| t.batch_size), format::count),
        format::range(trained.iter().map(|t| t.epochs), |e| format!("{e:.2}")),
        format::range(trained.iter().map(|t| t.examples), format::count),
        format::range(trained.iter().map(|t| t.learning_rate), |r| format!("{r:e}")),
        format::range(trained.iter().map(|t| t.trainable_parameters), format::count),
    )
}
