//! The kind `train`: an adapter from tokens and a frozen backbone.

use super::{
    train_resolve, train_run,
    train_table::{SUMMARY_FILE, TrainParams, TrainTable, VERSION},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    engine::{Context, ResolveContext, Resolved, TypedStage},
    models::adapters,
    stages::thread_pool::on_threads,
};

/// Trains an adapter on the train split of a `tokens` input, over the weights of a `model` input.
pub struct Train;

impl TypedStage for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = VERSION;
    const METRICS: Option<&'static str> = Some(SUMMARY_FILE);
    type Table = TrainTable;
    type Params = TrainParams;

    fn resolve(cx: &ResolveContext, table: TrainTable) -> Result<Resolved<TrainParams>, Vec<Diagnostic>> {
        train_resolve::resolve(cx, table)
    }

    fn outputs(_: &TrainParams) -> Option<Vec<String>> {
        Some([adapters::CONFIG_FILE, adapters::WEIGHTS_FILE, SUMMARY_FILE].map(str::to_owned).into())
    }

    fn run(cx: &Context, params: TrainParams) -> Result<()> {
        on_threads(cx, || train_run::run(cx, &params))
    }
}
