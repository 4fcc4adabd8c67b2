//! `evaluate`: predictions and metrics of a backbone with or without an adapter.

use std::{collections::BTreeMap, sync::Arc};

use polars::prelude::{NamedFrom, Series};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tables::{Method, ModelTable};
use super::{
    device::on_device,
    lookup::{about, both, definition, diagnostic_at, json, span},
    thread_pool::on_threads,
    train::{SUMMARY_FILE, Train, read_tokens, without_words},
};
use crate::estimate::{
    footprint::{EvaluationMemory, Lengths, Prompts, measure_memory},
    time::EvaluationWork,
};
use crate::{
    base::{
        error::{At, Error, IoAt, Result},
        machine::Device,
    },
    config::{self, Diagnostic, Node},
    data::{
        TaskDefinition, frame,
        tokenizer::{Convention, TextModel},
        vocabulary,
    },
    engine::{Artifact, Context, Estimate, ResolveContext, Resolved, StageKind, Work},
    estimate::peak_memory::{Answering, ModelShape},
    eval::{
        Evaluation, MethodContext, ModelContext, TaskContext, TrainingContext,
        bootstrap::{Bootstrap, Intervals},
        classify, generate,
        metrics::Metrics,
        parse_answer::Parser,
        rank,
    },
    models::{
        self, Adapter, AdapterSpec, Backbone, BackboneSpec,
        adapters::{self, Stated, UntrainedOptions},
        numerics, usual_targets,
    },
    packing::{Sample, TokenSet},
    train::TrainingSummary,
};

/// One row an example of the split: `id`, `label_id` and `predicted_id` (u32, missing where an answer names no label). Next
/// to them `scores` (list of f32: log-probabilities over the labels) where labels are scored, and `answer` (text) where it
/// is written.
pub const PREDICTIONS_FILE: &str = "predictions.parquet";

/// An [`Evaluation`].
pub const METRICS_FILE: &str = "metrics.json";

/// Where the model's sizes are unknown: a backbone of 135 M parameters in f32 (0.6 GiB) and the activations of one packed row.
const MEMORY: u64 = 1024 << 20;

/// Scores a split of a `tokens` input with the weights of a `model` input and, where there is one, an `adapter`.
pub struct Evaluate;

/// Predicts and scores a split. Inputs: `tokens`, `model`, and `adapter` for a trained method.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EvaluateStage")]
struct Table {
    /// Name of a `[model.NAME]` table.
    model: String,
    /// Name of a `[task.NAME]` table.
    task: String,
    /// Name of a `[method.NAME]` table; left out, the model is evaluated as it is.
    method: Option<String>,
    /// Seed of the training that made the adapter; left out where nothing was trained.
    seed: Option<i64>,
    /// Which examples: `train`, `dev` or `test` (default `test`).
    #[serde(default = "test")]
    split: String,
    /// How an answer becomes a label (default `rank`).
    #[serde(default)]
    answer: AnswerMode,
    /// With `answer = "generate"`: most tokens of an answer (default: 16 more than the longest label has).
    max_new_tokens: Option<usize>,
    /// How confidence intervals are made.
    #[serde(default)]
    bootstrap: BootstrapTable,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    device: Device,
}

fn test() -> String {
    "test".to_owned()
}

/// How an answer becomes a label. One line here, one in [`predict`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum AnswerMode {
    /// The label whose words the model is most likely to answer.
    #[default]
    Rank,
    /// The label that the model's own text names; a text that names none, or several, is wrong.
    Generate,
    /// The label of a classification head that was trained with the method (`head = true`).
    Head,
}

/// A bootstrap over the examples.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BootstrapTable {
    /// Resamples (default 1000).
    samples: u32,
    /// Share of resamples inside an interval (default 0.95).
    level: f64,
    /// Decides the resamples (default 0).
    seed: u64,
}

impl Default for BootstrapTable {
    fn default() -> Self {
        let Bootstrap { samples, level, seed } = Bootstrap::default();
        Self { samples, level, seed }
    }
}

/// What decides the results' bytes, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
struct Params {
    #[serde(flatten)]
    backbone: BackboneSpec,
    model: ModelContext,
    task: TaskContext,
    method: MethodContext,
    /// The adapter that there has to be, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<Stated>,
    seed: Option<i64>,
    split: String,
    answer: AnswerMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_new_tokens: Option<usize>,
    bootstrap: Bootstrap,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

/// The answers for all examples.
struct Predictions {
    /// None: the answer names no label.
    labels: Vec<Option<u32>>,
    evidence: Evidence,
}

/// What the labels were read from.
enum Evidence {
    /// Log-probabilities over the labels.
    Scores(Vec<Vec<f32>>),
    /// The model's text.
    Texts(Vec<String>),
}

impl StageKind for Evaluate {
    fn name(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        4
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Table>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Table>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let table: Table = config::from_node(&cx.action.params)?;
        let model = definition::<ModelTable>(cx, "model", &table.model);
        let task = vocabulary::task(cx.spec, &table.task, span(cx, "task"));
        let method = table.method.as_deref().map(|name| Method::find(cx, name, span(cx, "method"))).transpose();
        let ((model, task), method) = both(both(model, task), method)?;
        let stated = method.as_ref().filter(|m| m.is_trained()).map(|m| stated(cx, m));
        let mut problems = problems(cx, &table, method.as_ref());
        let name = table.method.as_deref().unwrap_or("zero-shot");
        problems.extend(without_words(cx, &model, name, method.as_ref().is_some_and(|m| m.head)));
        if !problems.is_empty() {
            return Err(problems);
        }
        let numerics = numerics(table.device, model.dtype);
        let targets =
            usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "family"], e)])?;
        let adapter = method.as_ref().map_or_else(|| UntrainedOptions {}.into(), |m| m.adapter.clone());
        let adapter = adapter.completed(targets);
        let unkeyed = json(&adapter)?;
        let shape = ModelShape::of(&model.backbone(), table.device)
            .map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "config"], e)])?;
        let memory = shape.map(|shape| EvaluationMemory {
            shape,
            model: table.model.clone(),
            adapter,
            answering: table.answer.answering(),
            max_new_tokens: table.max_new_tokens,
            prompts: Prompts::of(cx.spec, cx.action, &table.split),
        });
        let work = memory.as_ref().map(|m| EvaluationWork {
            shape: m.shape.clone(),
            answering: m.answering,
            prompts: m.prompts.clone(),
        });
        let params = Params {
            backbone: model.backbone(),
            model: ModelContext {
                title: model.title.unwrap_or_else(|| table.model.clone()),
                license: model.license.unwrap_or_else(|| "not stated".to_owned()),
                name: table.model,
            },
            task: task_context(task),
            method: match (table.method, method) {
                (Some(name), Some(method)) => MethodContext { name, title: method.title },
                _ => MethodContext { name: "zero-shot".to_owned(), title: "Zero-shot".to_owned() },
            },
            adapter: stated,
            seed: table.seed,
            split: table.split,
            answer: table.answer,
            max_new_tokens: table.max_new_tokens,
            bootstrap: Bootstrap {
                samples: table.bootstrap.samples,
                level: table.bootstrap.level,
                seed: table.bootstrap.seed,
            },
            device: table.device,
        };
        Ok(Resolved {
            work: work.map(|w| Arc::new(w) as Arc<dyn Work>),
            params: json(&params)?,
            unkeyed,
            numerics: Some(numerics),
            resources: on_device(table.device, MEMORY),
            memory: memory.map(|m| Arc::new(m) as Arc<dyn Estimate>),
            ..Resolved::default()
        })
    }

    fn metrics(&self) -> Option<&'static str> {
        Some(METRICS_FILE)
    }

    fn outputs(&self, _: &serde_json::Value) -> Option<Vec<String>> {
        Some(vec![METRICS_FILE.to_owned(), PREDICTIONS_FILE.to_owned()])
    }

    fn run(&self, cx: &Context) -> Result<()> {
        on_threads(cx, || run(cx))
    }
}

fn run(cx: &Context) -> Result<()> {
    let params: Params = cx.params()?;
    let tokens = read_tokens(cx.input("tokens")?)?;
    let samples = tokens.split(&params.split)?;
    let backbone = models::load(&params.backbone, &cx.input("model")?.files, &models::device::open(params.device)?)?;
    let (adapter, training) = adapter(cx, &params, backbone.as_ref())?;
    let predictions = predict(cx, &params, backbone.as_ref(), adapter.as_ref(), &samples, &tokens)
        .map_err(|e| about(e, &params.model.name, params.adapter.as_ref().map(|_| params.method.name.as_str())))?;
    let answering = params.answer.answering();
    let row = Lengths::of(&tokens, &params.split)?.evaluation_row(answering, params.max_new_tokens);
    let shape = ModelShape::of_loaded(&params.backbone, params.device, backbone.as_ref())?;
    let spec: AdapterSpec = serde_json::from_value(cx.job.unkeyed.clone()).at("the adapter's hyper-parameters")?;
    measure_memory(&shape.evaluation(&spec, row, answering), backbone.device(), cx.progress);
    write_predictions(cx, &samples, &predictions)?;
    write_metrics(cx, params, &tokens, &samples, &predictions, training)
}

/// What the adapter has to be. One that this pipeline trains has the method's options, or a result that was accepted in its
/// place: its differences are told where it is used.
fn stated(cx: &ResolveContext, method: &Method) -> Stated {
    let trained = |stage: &str| cx.spec.stages.iter().any(|s| s.name == stage && s.kind == Train.name());
    let mut sources = cx.action.inputs.iter().filter(|i| i.role == "adapter").flat_map(|i| &i.stages);
    let options = if sources.all(|s| trained(&s.stage)) { BTreeMap::new() } else { method.stated.options.clone() };
    Stated { options, ..method.stated.clone() }
}

/// What the table's keys say against one another.
fn problems(cx: &ResolveContext, table: &Table, method: Option<&Method>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let name = table.method.as_deref().unwrap_or("zero-shot");
    match (table.answer, method.is_some_and(|m| m.head)) {
        (AnswerMode::Head, false) => found.push(
            Diagnostic::new(format!("`answer = \"head\"`, but the method `{name}` trains no head"))
                .at(span(cx, "answer"))
                .help("give the method `head = true`, or let the model answer: `answer = \"generate\"` or `\"rank\"`"),
        ),
        (AnswerMode::Rank | AnswerMode::Generate, true) => found.push(
            Diagnostic::new(format!(
                "the method `{name}` trains a classification head, but the stage has `answer = \"{}\"`",
                table.answer.name()
            ))
            .at(span(cx, "answer").or(span(cx, "method")))
            .help("set `answer = \"head\"`, or leave `head` out of the method"),
        ),
        _ => (),
    }
    if let Some(tokens) = table.max_new_tokens {
        let at = span(cx, "max_new_tokens");
        if table.answer != AnswerMode::Generate {
            found.push(Diagnostic::new("`max_new_tokens` says something only with `answer = \"generate\"`").at(at));
        } else if tokens == 0 {
            found.push(Diagnostic::new("`max_new_tokens` must be at least 1").at(at));
        }
    }
    if method.is_some_and(Method::is_trained) && !cx.action.inputs.iter().any(|input| input.role == "adapter") {
        let method = table.method.as_deref().unwrap_or_default();
        found.push(
            Diagnostic::new(format!("the method `{method}` trains an adapter, but this stage has no `adapter` input"))
                .at(span(cx, "method"))
                .help("add `adapter = \"train\"` (the name of the training stage) to the stage's `inputs`"),
        );
    }
    if !["train", "dev", "test"].contains(&table.split.as_str()) {
        found.push(
            Diagnostic::new(format!("there is no split `{}`", table.split))
                .at(span(cx, "split"))
                .help("splits are `train`, `dev` and `test`"),
        );
    }
    if table.bootstrap.samples == 0 || !(table.bootstrap.level > 0.0 && table.bootstrap.level < 1.0) {
        found.push(
            Diagnostic::new("a bootstrap needs at least one sample and a level between 0 and 1")
                .at(span(cx, "bootstrap")),
        );
    }
    found
}

fn task_context(definition: TaskDefinition) -> TaskContext {
    let TaskDefinition { name, task, card, .. } = definition;
    TaskContext {
        name,
        title: task.title,
        dataset: card.title,
        scheme: task.scheme,
        construct: card.construct,
        language: card.language,
    }
}

/// The adapter of the `adapter` input, and what was spent on it.
fn adapter(
    cx: &Context,
    params: &Params,
    backbone: &dyn Backbone,
) -> Result<(Box<dyn Adapter>, Option<TrainingContext>)> {
    let method = &params.method.name;
    let (input, stated) = match (cx.inputs("adapter"), &params.adapter) {
        ([], None) => return Ok((Box::new(adapters::Untrained), None)),
        (_, None) => {
            return Err(Error::input(format!("the method `{method}` has no adapter, but the stage was given one"))
                .help("leave the `adapter` input out"));
        }
        (_, Some(stated)) => (cx.input("adapter")?, stated),
    };
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = input.file(name)?;
        std::fs::read(path).io_at("read", path)
    };
    let place = format!("the adapter of `{method}` (artifact {})", input.digest.short());
    let (config, weights) = (read(adapters::CONFIG_FILE)?, read(adapters::WEIGHTS_FILE)?);
    let adapter = adapters::load(&config, &weights, backbone).at(&place)?;
    stated.check(adapter.as_ref()).at(&place)?;
    Ok((adapter, training(input, &read)?))
}

/// None for an adapter from elsewhere.
fn training(input: &Artifact, read: &impl Fn(&str) -> Result<Vec<u8>>) -> Result<Option<TrainingContext>> {
    if !input.files.contains_key(SUMMARY_FILE) {
        return Ok(None);
    }
    let s: TrainingSummary = serde_json::from_slice(&read(SUMMARY_FILE)?)
        .map_err(|e| Error::input(format!("{SUMMARY_FILE} of artifact {}: {e}", input.digest.short())))?;
    Ok(Some(TrainingContext {
        adapter: s.adapter,
        steps: s.steps,
        examples: s.examples,
        epochs: s.epochs,
        batch_size: s.batch_size,
        learning_rate: s.learning_rate,
        trainable_parameters: s.trainable_parameters,
        loss: s.loss,
    }))
}

impl AnswerMode {
    fn name(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Generate => "generate",
            Self::Head => "head",
        }
    }

    fn answering(self) -> Answering {
        match self {
            Self::Rank | Self::Head => Answering::Scored,
            Self::Generate => Answering::Written,
        }
    }
}

fn predict(
    cx: &Context,
    params: &Params,
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    samples: &[Sample],
    tokens: &TokenSet,
) -> Result<Predictions> {
    let done = |done: usize| {
        cx.progress.step(done as u64, samples.len() as u64, "example", "");
        cx.checkpoint_reached()
    };
    match params.answer {
        AnswerMode::Rank => Ok(scored(&rank::rank(backbone, adapter, samples, &tokens.answers, done)?)),
        AnswerMode::Head => {
            let labels = tokens.answers.labels.len();
            match adapter.head() {
                Some(head) if head.labels() == labels => {
                    Ok(scored(&classify::classify(backbone, adapter, head, samples, done)?))
                }
                Some(head) => Err(Error::input(format!(
                    "the adapter's head knows {} labels, and the task has {labels}",
                    head.labels()
                ))
                .help("it was trained for another task")),
                None => Err(Error::input("the adapter has no classification head")),
            }
        }
        AnswerMode::Generate => {
            let tokenizer =
                TextModel::load(&cx.input("model")?.files, Convention::of(&params.backbone.family).as_ref())?.tokenizer;
            let longest = Lengths::of(tokens, &params.split)?.room(params.max_new_tokens);
            let answers = generate::generate(backbone, adapter, samples, tokens.answers.end, longest, done)?;
            let texts = answers.iter().map(|ids| tokenizer.decode(ids)).collect::<Result<Vec<_>>>()?;
            let words: Vec<&str> = tokens.info.labels.iter().map(|l| l.words.as_str()).collect();
            let parser = Parser::new(&words);
            let labels = texts.iter().map(|text| parser.label(text).map(|label| label as u32)).collect();
            Ok(Predictions { labels, evidence: Evidence::Texts(texts) })
        }
    }
}

/// The best-scored label of each example.
fn scored(scores: &[Vec<f64>]) -> Predictions {
    Predictions {
        labels: scores.iter().map(|s| Some(rank::best(s) as u32)).collect(),
        evidence: Evidence::Scores(scores.iter().map(|s| rank::log_softmax(s)).collect()),
    }
}

fn write_predictions(cx: &Context, samples: &[Sample], predictions: &Predictions) -> Result<()> {
    let ids: Vec<&str> = samples.iter().map(|s| s.id.as_str()).collect();
    let gold: Vec<u32> = samples.iter().map(|s| s.label).collect();
    let evidence = match &predictions.evidence {
        Evidence::Scores(scores) => frame::f32_list_column("scores", scores),
        Evidence::Texts(texts) => frame::string_column("answer", texts),
    };
    frame::write_parquet(
        &cx.out.join(PREDICTIONS_FILE),
        vec![
            frame::string_column("id", &ids),
            frame::u32_column("label_id", &gold),
            Series::new("predicted_id".into(), &predictions.labels).into(),
            evidence,
        ],
    )
}

fn write_metrics(
    cx: &Context,
    params: Params,
    tokens: &TokenSet,
    samples: &[Sample],
    predictions: &Predictions,
    training: Option<TrainingContext>,
) -> Result<()> {
    let labels: Vec<String> = tokens.info.labels.iter().map(|l| l.label.clone()).collect();
    let gold: Vec<u32> = samples.iter().map(|s| s.label).collect();
    let predicted = &predictions.labels;
    let evaluation = Evaluation {
        task: params.task,
        method: params.method,
        model: params.model,
        seed: params.seed,
        numerics: numerics(params.device, params.backbone.dtype),
        answer: params.answer.name().to_owned(),
        n: samples.len(),
        truncated: tokens.truncated(&params.split),
        split: params.split,
        training,
        metrics: Metrics::compute(&labels, &gold, predicted)?,
        intervals: Intervals::compute(labels.len(), &gold, predicted, params.bootstrap)?,
    };
    let path = cx.out.join(METRICS_FILE);
    let mut bytes = serde_json::to_vec_pretty(&evaluation)?;
    bytes.push(b'\n');
    std::fs::write(&path, bytes).io_at("write", &path)
}
