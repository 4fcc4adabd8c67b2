//! The work of `train`: an adapter from tokens and a frozen backbone.

use super::train_table::{SUMMARY_FILE, TrainParams, VERSION};
use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    data::tokenizer::{Convention, PretrainedTokenizer},
    engine::{Artifact, Context},
    estimate::{ModelShape, Row},
    models::{
        self, Adapter,
        adapters::{self, Head, WithHead},
    },
    packing::{self, Sample},
    stages::{measured_memory::measure_memory, model_errors::about, tokens_input::read_tokens},
    train::{self, CheckpointFile, RuntimeOptions, Training, TrainingSummary},
};

/// Trains and writes the adapter and what was spent on it.
///
/// # Errors
/// If an input is none that the stage can use, if the training fails, and where the user asked to stop.
pub(super) fn run(cx: &Context, params: &TrainParams) -> Result<()> {
    let runtime: RuntimeOptions = cx.unkeyed()?;
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
    let init_ids = init_ids(params, model, &samples)?;
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
    let planned = shape.peak_training(&params.adapter, row, runtime.gradient_checkpointing);
    measure_memory(&planned, backbone.device(), cx.progress);
    write(cx, adapter.as_ref(), &params.base_model, &summary)
        .map_err(|e| about(e, &params.base_model, Some(training.adapter_name)))
}

/// Tokens whose keys and values a prefix starts from, where the method asks for a text.
fn init_ids(params: &TrainParams, model: &Artifact, samples: &[Sample]) -> Result<Option<Vec<u32>>> {
    match params.adapter.init_text() {
        None => Ok(None),
        Some(text) if !text.is_empty() => {
            let convention = Convention::of(&params.backbone.family);
            PretrainedTokenizer::load(&model.files, convention.as_ref())?.tokenizer.encode_words(text).map(Some)
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
    Ok(Digest::of(&serde_json::to_vec(&(&cx.job.params, inputs, VERSION))?))
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
