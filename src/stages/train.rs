//! `train`: an adapter from tokens and a frozen backbone.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tables::{Method, ModelTable};
use super::{
    device::on_device,
    lookup::{about, both, definition, diagnostic_at, json, span},
    thread_pool::on_threads,
};
use crate::estimate::{
    footprint::{Prompts, TrainingMemory, measure_memory},
    time::TrainingWork,
};
use crate::{
    base::{
        digest::Digest,
        error::{At, Error, IoAt, Result},
        machine::Device,
    },
    config::{self, Diagnostic, Node},
    data::{
        TOKENS_FILE, TOKENS_INFO_FILE,
        tokenizer::{Convention, TextModel},
    },
    engine::{Artifact, Context, Estimate, ResolveContext, Resolved, StageKind, Work},
    estimate::peak_memory::{ModelShape, Row},
    models::{
        self, Adapter, AdapterSpec, BackboneSpec,
        adapters::{self, Head, WithHead},
        numerics, usual_targets,
    },
    packing::{self, Sample, TokenSet},
    train::{self, CheckpointFile, RuntimeOptions, Training, TrainingSpec, TrainingSummary},
};

/// Name of [`TrainingSummary`]'s file in the artifact.
pub const SUMMARY_FILE: &str = "training.json";

/// Where the model's table has no `config` and its sizes are unknown: a backbone of 135 M parameters in f32 (0.65 GiB with
/// the file it is read from), activations of a batch of 16 short prompts (0.4 GiB), adapter and moments: 1 GiB was measured.
const MEMORY: u64 = 1280 << 20;

/// Trains an adapter on the train split of a `tokens` input, over the weights of a `model` input.
pub struct Train;

/// Trains a method's adapter. Inputs: `tokens`, `model`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrainStage")]
struct Table {
    /// Name of a `[model.NAME]` table.
    model: String,
    /// Name of a `[method.NAME]` table.
    method: String,
    /// Decides the adapter's first values, the order of the data and dropout (default 0).
    #[serde(default)]
    seed: i64,
    /// What computes: `cpu` (default) or `cuda`.
    #[serde(default)]
    device: Device,
}

/// What decides an adapter's bytes, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
struct Params {
    /// The backbone's name in the adapter's files.
    base_model: String,
    #[serde(flatten)]
    backbone: BackboneSpec,
    adapter: AdapterSpec,
    /// Whether a classification head is trained as well. Left out where it isn't, so that older keys stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    head: bool,
    training: TrainingSpec,
    seed: i64,
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

impl StageKind for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn version(&self) -> u32 {
        5
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
        let method = Method::find(cx, &table.method, span(cx, "method"));
        let (model, method) = both(model, method)?;
        if !method.is_trained() {
            return Err(vec![
                Diagnostic::new(format!(
                    "the method `{}` has an adapter of the kind `none`: there is nothing to train",
                    table.method
                ))
                .at(span(cx, "method"))
                .help("leave it out of this stage's matrix"),
            ]);
        }
        if let Some(problem) = without_words(cx, &model, &table.method, method.head) {
            return Err(vec![problem]);
        }
        let targets =
            usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "family"], e)])?;
        let shape = ModelShape::of(&model.backbone(), table.device)
            .map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "config"], e)])?;
        let params = Params {
            base_model: table.model,
            backbone: model.backbone(),
            adapter: method.adapter.completed(targets),
            head: method.head,
            training: method.training,
            seed: table.seed,
            device: table.device,
        };
        let memory = shape.map(|shape| TrainingMemory {
            shape,
            model: params.base_model.clone(),
            method: table.method,
            adapter: params.adapter.clone(),
            batch_size: params.training.batch_size,
            gradient_accumulation_steps: params.training.gradient_accumulation_steps,
            gradient_checkpointing: method.runtime.gradient_checkpointing,
            prompts: Prompts::of(cx.spec, cx.action, "train"),
        });
        let work = memory.as_ref().map(|m| TrainingWork {
            shape: m.shape.clone(),
            prompts: m.prompts.clone(),
            batch_size: m.batch_size,
            length: params.training.length,
            gradient_checkpointing: m.gradient_checkpointing,
        });
        Ok(Resolved {
            work: work.map(|w| Arc::new(w) as Arc<dyn Work>),
            params: json(&params)?,
            unkeyed: json(&method.runtime)?,
            numerics: Some(numerics(table.device, model.dtype)),
            resources: on_device(table.device, MEMORY),
            memory: memory.map(|m| Arc::new(m) as Arc<dyn Estimate>),
            ..Resolved::default()
        })
    }

    fn metrics(&self) -> Option<&'static str> {
        Some(SUMMARY_FILE)
    }

    fn outputs(&self, _: &serde_json::Value) -> Option<Vec<String>> {
        Some([adapters::CONFIG_FILE, adapters::WEIGHTS_FILE, SUMMARY_FILE].map(str::to_owned).into())
    }

    fn run(&self, cx: &Context) -> Result<()> {
        on_threads(cx, || run(cx))
    }
}

fn run(cx: &Context) -> Result<()> {
    let params: Params = cx.params()?;
    let runtime: RuntimeOptions = serde_json::from_value(cx.job.unkeyed.clone()).at("runtime")?;
    let model = cx.input("model")?;
    let tokens = read_tokens(cx.input("tokens")?)?;
    let backbone = models::load(&params.backbone, &model.files, &models::device::open(params.device)?)?;
    let samples = tokens.split("train")?;
    let mut dev = Vec::new();
    if params.training.dev_every_steps.is_some() {
        dev = tokens.split("dev")?;
        dev.truncate(params.training.dev_examples);
    }
    let seed = params.seed as u64;
    let init_ids = init_ids(&params, model, &samples)?;
    let mut adapter = params.adapter.create(backbone.as_ref(), seed, init_ids.as_deref())?;
    if params.head {
        let head = Head::new(tokens.answers.labels.len(), backbone.as_ref(), seed)?;
        adapter = Box::new(WithHead { adapter, head });
    }
    let training = Training {
        backbone: backbone.as_ref(),
        adapter: adapter.as_ref(),
        adapter_name: &params.adapter.trained_name(params.head),
        samples: &samples,
        dev: &dev,
        answers: &tokens.answers,
        spec: &params.training,
        runtime: &runtime,
        seed,
        checkpoint: Some(CheckpointFile {
            path: train::checkpoint_path(cx.work_folder()?),
            fingerprint: fingerprint(cx)?,
        }),
        progress: cx.progress,
    };
    let summary = training.run().map_err(|e| about(e, &params.base_model, Some(training.adapter_name)))?;
    let (tokens, predicting) = training.largest_row();
    let row = Row { tokens, predicting };
    let shape = ModelShape::of_loaded(&params.backbone, params.device, backbone.as_ref())?;
    let planned = shape.training(&params.adapter, row, runtime.gradient_checkpointing);
    measure_memory(&planned, backbone.device(), cx.progress);
    write(cx, adapter.as_ref(), &params.base_model, &summary)
        .map_err(|e| about(e, &params.base_model, Some(training.adapter_name)))
}

/// An encoder whose method trains no head.
pub(super) fn without_words(cx: &ResolveContext, model: &ModelTable, method: &str, head: bool) -> Option<Diagnostic> {
    let encoder = models::is_encoder(&model.family).unwrap_or(false);
    (encoder && !head).then(|| {
        let family = &model.family;
        Diagnostic::new(format!("a model of the family `{family}` answers in no words, and `{method}` trains no head"))
            .at(span(cx, "method").or(span(cx, "model")))
            .help("give the method `head = true`, and evaluate it with `answer = \"head\"`")
    })
}

/// The tokens artifact.
pub(super) fn read_tokens(tokens: &Artifact) -> Result<TokenSet> {
    TokenSet::read(tokens.file(TOKENS_FILE)?, tokens.file(TOKENS_INFO_FILE)?)
}

/// Tokens whose keys and values a prefix starts from, where the method asks for a text.
fn init_ids(params: &Params, model: &Artifact, samples: &[Sample]) -> Result<Option<Vec<u32>>> {
    match params.adapter.init_text() {
        None => Ok(None),
        Some(text) if !text.is_empty() => {
            let convention = Convention::of(&params.backbone.family);
            TextModel::load(&model.files, convention.as_ref())?.tokenizer.encode_words(text).map(Some)
        }
        Some(_) => {
            let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
            let shared = packing::shared_beginning(&prompts);
            if shared == 0 {
                return Err(Error::input(
                    "`init = \"text\"` starts from what the prompts have in common, but they have nothing",
                )
                .help("give the adapter an `init_text`"));
            }
            Ok(Some(prompts[0][..shared].to_vec()))
        }
    }
}

/// Digest of what decides the course of this training.
fn fingerprint(cx: &Context) -> Result<Digest> {
    let inputs: Vec<_> =
        cx.job.inputs.iter().map(|(role, list)| (role, list.iter().map(|a| a.digest).collect::<Vec<_>>())).collect();
    Ok(Digest::of(&serde_json::to_vec(&(&cx.job.params, inputs, Train.version()))?))
}

fn write(cx: &Context, adapter: &dyn Adapter, base_model: &str, summary: &TrainingSummary) -> Result<()> {
    let saved = adapter.save(base_model)?;
    let summary = serde_json::to_vec_pretty(summary)?;
    for (name, bytes) in
        [(adapters::CONFIG_FILE, &saved.config), (adapters::WEIGHTS_FILE, &saved.weights), (SUMMARY_FILE, &summary)]
    {
        let path = cx.out.join(name);
        std::fs::write(&path, bytes).io_at("write", &path)?;
    }
    Ok(())
}
