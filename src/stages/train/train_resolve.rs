//! Planning of `train`: model and method looked up, and what the training will need.

use std::sync::Arc;

use super::train_table::{TrainParams, TrainTable};
use crate::{
    config::Diagnostic,
    engine::{MemoryEstimate, ResolveContext, Resolved, TimeEstimate},
    estimate::{ModelShape, Prompts, TrainingEstimate},
    models::{numerics, usual_targets},
    stages::{
        answer_words::without_words,
        device::on_device,
        lookup::{both, definition, diagnostic_at, json, span},
        tables::{Method, ModelTable},
    },
};

/// Bytes, where the model's table has no `config` and its sizes are unknown: a backbone of 135 M parameters in f32 (0.65 GiB
/// with the file it is read from), activations of a batch of 16 short prompts (0.4 GiB), adapter and moments: 1 GiB was
/// measured.
const MEMORY: u64 = 1280 << 20;

/// The description of a training.
///
/// # Errors
/// All that is wrong with the stage.
pub(super) fn resolve(cx: &ResolveContext, table: TrainTable) -> Result<Resolved<TrainParams>, Vec<Diagnostic>> {
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
    if let Some(diagnostic) = without_words(cx, &model, &table.method, method.head) {
        return Err(vec![diagnostic]);
    }
    let targets =
        usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "family"], e)])?;
    let shape = ModelShape::of(&model.backbone(), table.device)
        .map_err(|e| vec![diagnostic_at(cx, ["model", &table.model, "config"], e)])?;
    let params = TrainParams {
        base_model: table.model,
        backbone: model.backbone(),
        adapter: method.adapter.completed(targets),
        head: method.head,
        training: method.training,
        seed: table.seed,
        device: table.device,
    };
    let estimate = shape.map(|shape| {
        Arc::new(TrainingEstimate {
            shape,
            model: params.base_model.clone(),
            method: table.method,
            adapter: params.adapter.clone(),
            batch_size: params.training.batch_size,
            gradient_accumulation_steps: params.training.gradient_accumulation_steps,
            gradient_checkpointing: method.runtime.gradient_checkpointing,
            length: params.training.length,
            prompts: Prompts::of(cx.spec, cx.action, "train"),
        })
    });
    Ok(Resolved {
        unkeyed: json(&method.runtime)?,
        numerics: Some(numerics(table.device, model.dtype)),
        resources: on_device(table.device, MEMORY),
        memory: estimate.clone().map(|e| e as Arc<dyn MemoryEstimate>),
        time: estimate.map(|e| e as Arc<dyn TimeEstimate>),
        ..Resolved::of(params)
    })
}
