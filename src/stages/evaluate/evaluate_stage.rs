//! The kind `evaluate`: predictions and metrics of a backbone with or without an adapter.

use super::{
    evaluate_resolve, evaluate_run,
    evaluate_table::{EvaluateParams, EvaluateTable, METRICS_FILE, PREDICTIONS_FILE},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    engine::{Context, ResolveContext, Resolved, TypedStage},
    stages::thread_pool::on_threads,
};

/// Scores a split of a `tokens` input with the weights of a `model` input and, where there is one, an `adapter`.
pub struct Evaluate;

impl TypedStage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 4;
    const METRICS: Option<&'static str> = Some(METRICS_FILE);
    type Table = EvaluateTable;
    type Params = EvaluateParams;

    fn resolve(cx: &ResolveContext, table: EvaluateTable) -> Result<Resolved<EvaluateParams>, Vec<Diagnostic>> {
        evaluate_resolve::resolve(cx, table)
    }

    fn outputs(_: &EvaluateParams) -> Option<Vec<String>> {
        Some(vec![METRICS_FILE.to_owned(), PREDICTIONS_FILE.to_owned()])
    }

    fn run(cx: &Context, params: EvaluateParams) -> Result<()> {
        on_threads(cx, || evaluate_run::run(cx, params))
    }
}
