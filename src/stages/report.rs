//! `report`: evaluations become tables, tests and plots.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{self, Diagnostic, Node, Spanned, Spec},
    data::{
        Summary,
        card::Duplicates,
        frame::{read_parquet, strings, u32s},
        summary,
    },
    engine::{Artifact, Context, Isolation, ResolveContext, Resolved, Resources, StageKind, Usual},
    error::{At, Error, IoAt, Result},
    eval::{Evaluation, bootstrap::Bootstrap, metrics::Metric},
    report::{
        Choice, DatasetFacts, Evidence, Layout, Named, Predictions, Publication, PublishedRow, Report, Run, SplitFacts,
        SplitSizes, TableLayout, TaskColumns,
    },
};

/// Roles of the inputs: artifacts of `evaluate` and of `prepare`.
const EVALUATIONS: &str = "evaluations";
const EXAMPLES: &str = "examples";

/// An unadapted model needs no `[method]` table to be a row.
const ZERO_SHOT: (&str, &str) = ("zero-shot", "Zero-shot");

/// Names of files that every report has.
const TAKEN: [&str; 3] = ["README", "index", "results"];

/// Writes the evaluations as tables with tests between methods, in Markdown, CSV and HTML.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportStage")]
struct Options {
    /// Heading of the report.
    title: String,
    /// What the report is about: paragraphs, with `code` in backticks.
    #[serde(default)]
    intro: String,
    /// What a reader must know before believing a figure, a paragraph each.
    #[serde(default)]
    notes: Vec<String>,
    /// Rows of all tables, from top to bottom: names of methods; `zero-shot` needs no table of its own.
    methods: Vec<Spanned<String>>,
    /// The method that the others are tested against. Left out: the first.
    #[serde(default)]
    baseline: Option<Spanned<String>>,
    /// Resamples of the paired bootstrap behind every comparison with the baseline.
    #[serde(default = "default_resamples")]
    resamples: Spanned<u32>,
    /// The tables, in order.
    tables: Vec<TableOptions>,
    /// How the `published` rows of the tables came about.
    #[serde(default)]
    publication: Option<PublicationOptions>,
    /// Values of this pipeline that the publication leaves open, under their own paths, and where each comes from:
    /// `method.lora.alpha = "the usual default"`. Reports list them with the value that is in force.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    choices: serde_json::Value,
}

/// A figure of ours is set against a published one only where model, answers and examples are the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportPublication")]
struct PublicationOptions {
    /// How to cite it.
    title: String,
    /// Name of the backbone's `[model.NAME]` table.
    model: Spanned<String>,
    /// How an answer became a label: `generate`, `rank` or `head`.
    answer: String,
    /// Number of examples by task and split: `sst-2 = { train = 6920, test = 1821 }`.
    examples: BTreeMap<String, SplitSizes>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportTable")]
struct TableOptions {
    /// Name of the table's files, without extension.
    name: Spanned<String>,
    /// Heading of the table.
    title: String,
    /// Groups of columns, from left to right: names of tasks.
    tasks: Vec<Spanned<String>>,
    /// Columns of each group. Left out: each task's own metrics.
    metrics: Option<Vec<Metric>>,
    /// Rows of others, from top to bottom.
    #[serde(default)]
    published: Vec<PublishedOptions>,
}

/// A published row: `{ title = "SentiLARE (2020)", values = ["-", "-", 58.59, "-"] }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportPublishedRow")]
struct PublishedOptions {
    /// The row's name.
    title: String,
    /// The method of this report that the row is about.
    #[serde(default)]
    method: Option<Spanned<String>>,
    /// Percent, a figure per column; `"-"` where none was published.
    values: Spanned<Vec<Figure>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Figure {
    Percent(f64),
    Missing(Dash),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
enum Dash {
    #[serde(rename = "-")]
    Dash,
}

/// More than for an interval: a correction multiplies the smallest p-value, which is 2 / (resamples + 1).
fn default_resamples() -> Spanned<u32> {
    Spanned { value: 4000, span: None }
}

/// The kind `report`. Its artifact holds `README.md`, `index.html`, `results.csv`, and a `.md` and a `.csv` per table.
pub struct ReportKind;

impl StageKind for ReportKind {
    fn name(&self) -> &'static str {
        "report"
    }

    fn version(&self) -> u32 {
        3
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Options>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Options>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let options: Options = config::from_node(&cx.action.params)?;
        let layout = layout(cx.spec, options, &cx.action.params)?;
        let params = serde_json::to_value(layout)
            .map_err(|e| vec![Diagnostic::new(format!("the layout can't be written as JSON: {e}"))])?;
        Ok(Resolved {
            params,
            resources: Resources { memory: 128 << 20, ..Resources::default() },
            work: Some(Arc::new(Usual(0.2))),
            ..Resolved::default()
        })
    }

    fn isolation(&self) -> Isolation {
        Isolation::InProcess
    }

    fn shows_notes(&self) -> bool {
        true
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let mut layout: Layout = cx.params()?;
        layout.notes.extend(cx.job.notes.iter().cloned());
        let evidence = Evidence {
            runs: cx.inputs(EVALUATIONS).iter().map(run).collect::<Result<_>>()?,
            datasets: cx.inputs(EXAMPLES).iter().map(dataset).collect::<Result<_>>()?,
        };
        cx.checkpoint_reached()?;
        for (name, content) in Report::build(&layout, &evidence)?.files()? {
            let path = cx.out.join(name);
            std::fs::write(&path, content).io_at("write", &path)?;
        }
        Ok(())
    }
}

/// Looks every name up, and finds all faults at once.
fn layout(spec: &Spec, options: Options, whole: &Node) -> Result<Layout, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut named = |kind: &str, name: &Spanned<String>| {
        let title = match spec.definition(kind, name, name.span) {
            Ok(node) => node.get("title").and_then(Node::as_str).unwrap_or(name).to_owned(),
            Err(_) if kind == "method" && name.value == ZERO_SHOT.0 => ZERO_SHOT.1.to_owned(),
            Err(fault) => {
                faults.push(fault);
                String::new()
            }
        };
        Named { name: name.value.clone(), title }
    };
    let methods: Vec<Named> = options.methods.iter().map(|m| named("method", m)).collect();
    let publication = options.publication.map(|p| Publication {
        files_replaced: files_replaced(spec, &p.model),
        title: p.title,
        model: named("model", &p.model),
        answer: p.answer,
        examples: p.examples,
    });
    let tables: Vec<TableLayout> = options
        .tables
        .iter()
        .map(|t| TableLayout {
            name: t.name.value.clone(),
            title: t.title.clone(),
            tasks: t
                .tasks
                .iter()
                .map(|task| TaskColumns {
                    task: named("task", task),
                    metrics: t.metrics.clone().unwrap_or_else(|| metrics(spec, task)),
                })
                .collect(),
            published: t.published.iter().map(published).collect(),
        })
        .collect();
    let choices = choices(spec, &options.choices, whole, &mut faults);
    for (table, options) in tables.iter().zip(&options.tables) {
        published_faults(table, options, &methods, publication.is_some(), &mut faults);
    }
    twice(&options.methods, "method", &mut faults);
    let names: Vec<_> = options.tables.iter().map(|t| t.name.clone()).collect();
    twice(&names, "table", &mut faults);
    for (name, table) in names.iter().zip(&options.tables) {
        twice(&table.tasks, "task", &mut faults);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) || TAKEN.iter().any(|t| t.eq_ignore_ascii_case(name)) {
            faults.push(
                Diagnostic::new(format!("`{}` can't name a table's files", name.value)).at(name.span).help(
                    "use lower-case letters, digits, `-` and `_`; `readme`, `index` and `results` are taken, such as `table-2`",
                ),
            );
        }
        if table.tasks.is_empty() || table.metrics.as_ref().is_some_and(Vec::is_empty) {
            faults.push(
                Diagnostic::new(format!("table `{}` has no columns", name.value))
                    .at(name.span)
                    .help("give it at least one task and one metric"),
            );
        }
    }
    let at = |key: &str| whole.get(key).map_or(whole.span, |n| n.span);
    for (key, empty) in [("methods", options.methods.is_empty()), ("tables", options.tables.is_empty())] {
        if empty {
            faults.push(Diagnostic::new(format!("a report needs {key}")).at(at(key)));
        }
    }
    if options.resamples.value == 0 {
        faults.push(Diagnostic::new("a bootstrap needs at least one resample").at(options.resamples.span));
    }
    let baseline = options.baseline.as_ref().or(options.methods.first());
    if let Some(baseline) = baseline
        && !options.methods.iter().any(|m| m.value == baseline.value)
    {
        faults.push(
            Diagnostic::new(format!("the baseline `{}` is not among the report's methods", baseline.value))
                .at(baseline.span)
                .help("name one of `methods`"),
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Layout {
        title: options.title,
        intro: options.intro,
        notes: options.notes,
        methods,
        baseline: baseline.map(|b| b.value.clone()).unwrap_or_default(),
        comparison: Bootstrap { samples: options.resamples.value, ..Bootstrap::default() },
        tables,
        publication,
        choices,
    })
}

/// Whether a pin of the model's files is given elsewhere than in the model's own table.
fn files_replaced(spec: &Spec, model: &str) -> bool {
    let sources = spec.definition("model", model, None).ok().and_then(|node| node.get("source")?.as_table());
    let is_local = |node: &Node| node.get("local").and_then(Node::as_bool) == Some(true);
    sources.is_some_and(|table| table.values().any(|(_, node)| is_local(node)))
}

/// The columns that a task's own table asks for.
fn metrics(spec: &Spec, task: &Spanned<String>) -> Vec<Metric> {
    spec.definition("task", task, task.span)
        .ok()
        .and_then(|node| config::from_node(node.get("metrics")?).ok())
        .unwrap_or_else(|| vec![Metric::Accuracy, Metric::MacroF1])
}

fn published(row: &PublishedOptions) -> PublishedRow {
    let value = |figure: &Figure| match figure {
        Figure::Percent(percent) => Some(*percent),
        Figure::Missing(_) => None,
    };
    PublishedRow {
        title: row.title.clone(),
        method: row.method.as_ref().map(|m| m.value.clone()),
        values: row.values.value.iter().map(value).collect(),
    }
}

fn published_faults(
    table: &TableLayout,
    options: &TableOptions,
    methods: &[Named],
    publication: bool,
    faults: &mut Vec<Diagnostic>,
) {
    let columns: Vec<String> =
        table.tasks.iter().flat_map(|t| t.metrics.iter().map(|m| format!("{} {}", t.task.title, m.name()))).collect();
    for row in &options.published {
        let values = &row.values;
        if values.value.len() != columns.len() {
            faults.push(
                Diagnostic::new(format!("{} figures for {} columns", values.value.len(), columns.len()))
                    .at(values.span)
                    .help(format!("the columns are {}; write \"-\" where nothing was published", columns.join(", "))),
            );
        }
        for figure in &values.value {
            if let Figure::Percent(percent) = figure
                && !(0.0..=100.0).contains(percent)
            {
                faults.push(Diagnostic::new(format!("{percent} is no percentage")).at(values.span));
            }
        }
        if let Some(method) = &row.method
            && !methods.iter().any(|m| m.name == method.value)
        {
            let names: Vec<_> = methods.iter().map(|m| m.name.as_str()).collect();
            faults.push(
                Diagnostic::new(format!("`{}` is not among the report's methods", method.value))
                    .at(method.span)
                    .help(format!("methods: {}", names.join(", "))),
            );
        }
        if !publication {
            faults.push(
                Diagnostic::new("published rows need a `publication` to be copied from").at(values.span).help(
                    "add `publication = { title = ..., model = ..., answer = ..., examples = { TASK = { train = ..., test = ... } } }`",
                ),
            );
        }
    }
}

/// The leaves of the `choices` tables, each with the value that its path has.
fn choices(spec: &Spec, tables: &serde_json::Value, whole: &Node, faults: &mut Vec<Diagnostic>) -> Vec<Choice> {
    let mut found = Vec::new();
    for (path, reason) in leaves(tables) {
        let span = whole.get(&format!("choices.{path}")).map_or(whole.span, |n| n.span);
        match (value_at(spec, &path), reason.as_str()) {
            (Some(value), Some(reason)) => found.push(Choice { path, value, reason: reason.to_owned() }),
            (_, None) => faults.push(
                Diagnostic::new(format!("`{path}` must say where the value comes from, in a string")).at(span),
            ),
            (None, _) => faults.push(
                Diagnostic::new(format!("the pipeline has no value `{path}`")).at(span).help(
                    "write the path of a key of a definition or a stage, such as `method.lora.alpha` or `stages.tokens.max_tokens`",
                ),
            ),
        }
    }
    found
}

/// All values that aren't tables, with their dotted paths.
fn leaves(tables: &serde_json::Value) -> Vec<(String, &serde_json::Value)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), tables)];
    while let Some((path, value)) = open.pop() {
        match value {
            serde_json::Value::Object(table) => {
                let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                open.extend(table.iter().rev().map(|(key, child)| (below(key), child)));
            }
            serde_json::Value::Null if path.is_empty() => {}
            leaf => found.push((path, leaf)),
        }
    }
    found
}

/// The value of `method.lora.alpha`, `stages.tokens.max_tokens` and the like, as people write it.
fn value_at(spec: &Spec, path: &str) -> Option<String> {
    let (kind, rest) = path.split_once('.')?;
    if (kind, rest) == ("pipeline", "seeds") {
        return Some(spec.pipeline.seeds.iter().map(i64::to_string).collect::<Vec<_>>().join(", "));
    }
    let (name, key) = rest.split_once('.')?;
    let node = match kind {
        "stages" => spec.stage(name)?.actions.first()?.params.get(key)?,
        _ => spec.definitions.get(kind)?.get(name)?.get(key)?,
    };
    let items = node.as_array().map(|items| items.iter().map(Node::scalar_text).collect::<Option<Vec<_>>>());
    match items {
        Some(items) => items.map(|texts| texts.join(", ")),
        None => node.scalar_text(),
    }
}

fn twice(names: &[Spanned<String>], what: &str, faults: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|n| !seen.insert(n.value.as_str())) {
        faults.push(Diagnostic::new(format!("the {what} `{}` is listed twice", name.value)).at(name.span));
    }
}

/// An artifact of `evaluate`.
fn run(artifact: &Artifact) -> Result<Run> {
    let place = |file: &str| format!("evaluation {}, {file}", artifact.digest.short());
    let json = artifact.file("metrics.json")?;
    let evaluation: Evaluation = serde_json::from_slice(&std::fs::read(json).io_at("read", json)?)
        .map_err(|e| Error::input(e).help("the stage that made it is of another version; run it again"))
        .at(place("metrics.json"))?;
    let predictions = predictions(artifact.file("predictions.parquet")?).at(place("predictions.parquet"))?;
    Ok(Run { digest: artifact.digest, evaluation, predictions })
}

fn predictions(path: &Path) -> Result<Predictions> {
    let frame = read_parquet(path)?;
    let predicted = frame.column("predicted_id").and_then(|c| c.as_materialized_series().u32());
    let labels = u32s(&frame, "label_id")?.into_iter().zip(predicted.map_err(Error::input)?.iter());
    let rows = strings(&frame, "id")?.into_iter().zip(labels);
    Ok(Predictions::new(rows.map(|(id, (gold, predicted))| (id, gold, predicted)).collect()))
}

/// An artifact of `prepare`.
fn dataset(artifact: &Artifact) -> Result<DatasetFacts> {
    Ok(facts(Summary::read_from(artifact.file(Summary::FILE)?)?))
}

fn facts(s: Summary) -> DatasetFacts {
    let d = &s.duplicates;
    let mut removed: Vec<(String, u64)> = s.dropped.iter().map(|(reason, n)| (reason.clone(), *n)).collect();
    if d.removed > 0 {
        removed.push(("duplicates".to_owned(), d.removed));
    }
    let duplicates = format!(
        "Duplicates {}: {} rows repeat one of the same class and split, {} one of the same class in another split, and {} texts ({} \
         rows) occur with several classes.",
        match d.policy {
            Duplicates::Remove => "were removed",
            Duplicates::Keep => "were kept",
        },
        d.repeats_within_split,
        d.repeats_across_splits,
        d.conflicting_texts,
        d.conflicting_rows
    );
    DatasetFacts {
        rows: s.rows(),
        removed,
        duplicates,
        available: s.available.iter().map(|c| c.examples).sum(),
        splits: s
            .kept
            .iter()
            .map(|c| SplitFacts {
                name: c.split.name().to_owned(),
                counts: s.labels.iter().map(|l| c.classes.get(l).copied().unwrap_or(0)).collect(),
                total: c.examples,
            })
            .collect(),
        local: s.sources.iter().filter(|f| f.pin == summary::Pin::Local).map(|f| f.name.clone()).collect(),
        dataset: s.dataset,
        scheme: s.scheme,
        scheme_note: s.scheme_note,
        construct: s.construct,
        language: s.language,
        license: s.license,
        labels: s.labels,
        notes: s.notes,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{
        config::{LoadOptions, SourceMap, Vocabulary, load, render},
        data::frame::{string_column, u32_column, write_parquet},
        engine::{Job, Unwatched},
        eval::{
            MethodContext, ModelContext, TaskContext,
            bootstrap::{Bootstrap, Intervals},
            metrics::Metrics,
        },
        store::Digest,
    };

    const DEFINITIONS: &str = r#"
        [pipeline]
        name = "test"
        [task.products]
        title = "Products-2"
        metrics = ["accuracy", "ua"]
        [method.lora]
        title = "LoRA"
        alpha = 32
        target_modules = ["q", "v"]
        [model.big]
        title = "Big-6B"
    "#;

    /// The stage's layout, or its faults as a user sees them.
    fn resolve(stage: &str) -> Result<Layout, String> {
        let any = config::Entry::of::<serde_json::Value>;
        let kind = crate::engine::vocabulary_entry(&ReportKind);
        let vocabulary =
            Vocabulary { definitions: vec![any("task"), any("method"), any("model")], stage_kinds: vec![kind] };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        std::fs::write(&path, format!("{DEFINITIONS}\n[stages.tables]\nkind = \"report\"\n{stage}")).unwrap();
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let shown = |faults: &[Diagnostic], sources: &SourceMap| render(faults, sources);
        let spec = loaded.spec.ok_or_else(|| shown(&loaded.diagnostics, &loaded.sources))?;
        let action = &spec.stages[0].actions[0];
        let resolved = ReportKind
            .resolve(&ResolveContext { spec: &spec, action })
            .map_err(|faults| shown(&faults, &loaded.sources))?;
        Ok(serde_json::from_value(resolved.params).unwrap())
    }

    #[test]
    fn titles_come_from_definitions() {
        let layout = resolve(
            r#"
            title = "Tables"
            methods = ["zero-shot", "lora"]
            [[stages.tables.tables]]
            name = "table-2"
            title = "Table 2"
            tasks = ["products"]
            [[stages.tables.tables]]
            name = "table-3"
            title = "Table 3"
            tasks = ["products"]
            metrics = ["macro-f1"]
            "#,
        )
        .unwrap();
        let titles: Vec<_> = layout.methods.iter().map(|m| m.title.as_str()).collect();
        assert_eq!(titles, ["Zero-shot", "LoRA"]);
        assert_eq!(layout.baseline, "zero-shot");
        let task = Named { name: "products".to_owned(), title: "Products-2".to_owned() };
        let columns = |metrics: &[Metric]| [TaskColumns { task: task.clone(), metrics: metrics.to_vec() }];
        assert_eq!(layout.tables[0].tasks, columns(&[Metric::Accuracy, Metric::Ua]), "the task's own");
        assert_eq!(layout.tables[1].tasks, columns(&[Metric::MacroF1]));
    }

    const PUBLISHED: &str = r#"
        title = "Tables"
        methods = ["zero-shot", "lora"]
        publication = { title = "A paper", model = "big", answer = "rank", examples = { products = { train = 8, test = 4 } } }
        choices.method.lora = { alpha = "usual", target_modules = "usual" }
        choices.pipeline.seeds = "one run"
        [[stages.tables.tables]]
        name = "table-2"
        title = "Table 2"
        tasks = ["products"]
        published = [{ title = "Other (2020)", values = [83.49, "-"] }, { title = "Big", method = "lora", values = [90, 80.5] }]
    "#;

    #[test]
    fn published_rows_and_choices_are_read() {
        let layout = resolve(PUBLISHED).unwrap();
        let rows = &layout.tables[0].published;
        assert_eq!(rows[0].values, [Some(83.49), None]);
        assert_eq!((rows[1].method.as_deref(), &*rows[1].values), (Some("lora"), &[Some(90.0), Some(80.5)][..]));
        let publication = layout.publication.unwrap();
        assert_eq!((publication.model.title.as_str(), publication.examples["products"].test), ("Big-6B", 4));
        let choices: Vec<_> = layout.choices.iter().map(|c| (c.path.as_str(), c.value.as_str())).collect();
        assert_eq!(
            choices,
            [("method.lora.alpha", "32"), ("method.lora.target_modules", "q, v"), ("pipeline.seeds", "0")]
        );
    }

    #[test]
    fn faults_of_published_rows_and_choices_are_found_at_once() {
        let bad = PUBLISHED
            .replace("[83.49, \"-\"]", "[83.49]")
            .replace("method = \"lora\", values = [90", "method = \"lara\", values = [900")
            .replace("model = \"big\"", "model = \"bog\"")
            .replace("alpha = \"usual\"", "alhpa = \"usual\"");
        let shown = resolve(&bad).unwrap_err();
        for fault in [
            "1 figures for 2 columns",
            "Products-2 accuracy, Products-2 ua",
            "`lara` is not among the report's methods",
            "900 is no percentage",
            "there is no model `bog`",
            "no value `method.lora.alhpa`",
        ] {
            assert!(shown.contains(fault), "{fault} is missing from:\n{shown}");
        }
        let without: String =
            PUBLISHED.lines().filter(|l| !l.contains("publication =")).map(|l| format!("{l}\n")).collect();
        assert!(resolve(&without).unwrap_err().contains("published rows need a `publication`"));
    }

    #[test]
    fn all_faults_of_a_layout_are_found_at_once() {
        let shown = resolve(
            r#"
            title = "Tables"
            methods = ["lora", "lorra", "lora"]
            baseline = "zero-shot"
            [[stages.tables.tables]]
            name = "Results"
            title = "Table 2"
            tasks = ["product"]
            metrics = []
            "#,
        )
        .unwrap_err();
        for fault in [
            "there is no method `lorra`",
            "the method `lora` is listed twice",
            "the baseline `zero-shot` is not among",
            "`Results` can't name a table's files",
            "there is no task `product`",
            "table `Results` has no columns",
        ] {
            assert!(shown.contains(fault), "{fault} is missing from:\n{shown}");
        }
    }

    fn evaluation(labels: &[String], gold: &[u32], predicted: &[Option<u32>]) -> Evaluation {
        Evaluation {
            task: TaskContext {
                name: "products".to_owned(),
                title: "Products-2".to_owned(),
                dataset: "VADER".to_owned(),
                scheme: "2".to_owned(),
                construct: "sentiment".to_owned(),
                language: "English".to_owned(),
            },
            method: MethodContext { name: "zero-shot".to_owned(), title: "Zero-shot".to_owned() },
            model: ModelContext { name: "m".to_owned(), title: "M".to_owned(), license: "MIT".to_owned() },
            seed: None,
            numerics: "cpu-f32".to_owned(),
            answer: "rank".to_owned(),
            split: "test".to_owned(),
            n: gold.len(),
            truncated: 0,
            training: None,
            metrics: Metrics::compute(labels, gold, predicted).unwrap(),
            intervals: Intervals::compute(
                labels.len(),
                gold,
                predicted,
                Bootstrap { samples: 20, ..Bootstrap::default() },
            )
            .unwrap(),
        }
    }

    /// Runs the stage on one evaluation artifact with these files.
    fn report(dir: &Path, metrics: &[u8], ids: &[&str]) -> Result<String> {
        let (json, parquet) = (dir.join("m"), dir.join("p"));
        std::fs::write(&json, metrics).unwrap();
        let columns = [string_column("id", ids), u32_column("label_id", &[0, 1]), u32_column("predicted_id", &[0, 0])];
        write_parquet(&parquet, columns.into()).unwrap();
        let files: BTreeMap<String, PathBuf> =
            [("metrics.json".to_owned(), json), ("predictions.parquet".to_owned(), parquet)].into();
        let layout = resolve(
            "title = \"T\"\nmethods = [\"zero-shot\"]\ntables = [{ name = \"t\", title = \"T\", tasks = [\"products\"] }]",
        )
        .unwrap();
        let job = Job {
            kind: "report".to_owned(),
            action: "tables".to_owned(),
            params: serde_json::to_value(layout).unwrap(),
            unkeyed: serde_json::Value::Null,
            inputs: [(EVALUATIONS.to_owned(), vec![Artifact { digest: Digest::of(b"e"), files }])].into(),
            threads: 1,
            notes: Vec::new(),
        };
        let out = dir.join("out");
        std::fs::create_dir_all(&out).unwrap();
        ReportKind.run(&Context { job: &job, out: &out, work: dir, progress: &Unwatched })?;
        Ok(std::fs::read_to_string(out.join("t.md")).unwrap())
    }

    #[test]
    fn artifacts_become_a_report() {
        let labels = ["negative".to_owned(), "positive".to_owned()];
        let good = serde_json::to_vec(&evaluation(&labels, &[0, 1], &[Some(0), Some(0)])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let page = report(dir.path(), &good, &["a", "b"]).unwrap();
        assert!(page.contains("| Zero-shot             |"), "{page}");
        assert!(page.contains("50.00 ["), "{page}");

        let error = report(dir.path(), b"{}", &["a", "b"]).unwrap_err();
        assert!(error.message.starts_with("evaluation ") && error.message.contains("metrics.json: missing field"));
        assert!(error.help.is_some());
    }
}
