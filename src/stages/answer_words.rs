//! Whether a model can answer in words at all.

use super::{lookup::span, tables::ModelTable};
use crate::{config::Diagnostic, engine::ResolveContext, models};

/// What is wrong where the model is an encoder, which answers in no words, and the method trains no head.
pub(super) fn without_words(cx: &ResolveContext, model: &ModelTable, method: &str, head: bool) -> Option<Diagnostic> {
    let encoder = models::is_encoder(&model.family).unwrap_or(false);
    (encoder && !head).then(|| {
        let family = &model.family;
        Diagnostic::new(format!("a model of the family `{family}` answers in no words, and `{method}` trains no head"))
            .at(span(cx, "method").or(span(cx, "model")))
            .help("give the method `head = true`, and evaluate it with `answer = \"head\"`")
    })
}
