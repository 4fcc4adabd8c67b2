//! The work of `evaluate`: weights and adapter in, predictions and metrics out.

use super::{
    evaluate_table::{EvaluateParams, METRICS_FILE},
    predictions::{Predictions, predict, write_predictions},
};
use crate::{
    base::error::{At, Error, IoAt, Result},
    engine::{Artifact, Context},
    estimate::{Lengths, ModelShape},
    eval::{Evaluation, TrainingContext, bootstrap::Intervals, metrics::Metrics},
    models::{self, Adapter, AdapterSpec, Backbone, adapters, numerics},
    packing::{Sample, TokenSet},
    stages::{measured_memory::measure_memory, model_errors::about, tokens_input::read_tokens, train::SUMMARY_FILE},
    train::TrainingSummary,
};

/// Writes predictions and metrics.
///
/// # Errors
/// If an input is none that the stage can use, and where the user asked to stop.
pub(super) fn run(cx: &Context, params: EvaluateParams) -> Result<()> {
    let tokens = read_tokens(cx.input("tokens")?)?;
    let samples = tokens.split(&params.split)?;
    let backbone = models::load(&params.backbone, &cx.input("model")?.files, &models::device::open(params.device)?)?;
    let (adapter, training) = adapter(cx, &params, backbone.as_ref())?;
    let predictions = predict(cx, &params, backbone.as_ref(), adapter.as_ref(), &samples, &tokens)
        .map_err(|e| about(e, &params.model.name, params.adapter.as_ref().map(|_| params.method.name.as_str())))?;
    let answering = params.answer.answering();
    let row = Lengths::of(&tokens, &params.split)?.evaluation_row(answering, params.max_new_tokens);
    let shape = ModelShape::of_loaded(&params.backbone, params.device, backbone.as_ref())?;
    let spec: AdapterSpec = cx.unkeyed()?;
    measure_memory(&shape.peak_evaluation(&spec, row, answering), backbone.device(), cx.progress);
    write_predictions(cx, &samples, &predictions)?;
    write_metrics(cx, params, &tokens, &samples, &predictions, training)
}

/// The adapter of the `adapter` input, and what was spent on it.
fn adapter(
    cx: &Context,
    params: &EvaluateParams,
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

fn write_metrics(
    cx: &Context,
    params: EvaluateParams,
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
