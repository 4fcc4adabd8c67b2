//! Answers by head: a linear classifier on what the backbone makes of a prompt.

use super::questions::{Question, checked, prompts};
use crate::packing::{TOKEN_BUDGET, groups, pack};
use crate::{
    base::error::Result,
    models::{
        Adapter, Backbone, Mode,
        adapters::{DetachedAdapter, Head},
        free_unused_buffers,
    },
    packing::shared_beginning,
};

/// Logits of every label for every question, `[questions][labels]`. `done` hears how many questions are finished and may stop the
/// work with an error.
///
/// # Errors
/// Those of the backbone and of `done`; and if a logit isn't a finite number.
pub fn classify<Q: Question>(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    head: &Head,
    questions: &[Q],
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f64>>> {
    let adapter = &DetachedAdapter(adapter);
    let prompts = &prompts(questions);
    let shared = if backbone.is_causal() { shared_beginning(prompts) } else { 0 };
    let mut scores: Vec<Vec<f64>> = Vec::with_capacity(prompts.len());
    for group in groups(prompts, shared, 0, TOKEN_BUDGET) {
        let (tree, leaves) = pack(&prompts[group], shared);
        let logits = head.logits(&backbone.pooled_output(&tree, &leaves, adapter, Mode::Eval)?)?.to_vec2::<f32>()?;
        free_unused_buffers();
        for row in logits {
            let row = checked(questions, scores.len(), "the logit of a label", &row)?;
            scores.push(row.iter().copied().map(f64::from).collect());
        }
        done(scores.len())?;
    }
    Ok(scores)
}
