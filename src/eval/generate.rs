//! Answers by generation: the most likely token, one after the other, until the end token.

use super::rows::{TOKEN_BUDGET, groups, pack};
use crate::{
    error::Result,
    models::{Adapter, Backbone, greedy},
    train::shared_beginning,
};

/// Token ids that follow each prompt, without `end`, at most `longest` of them. Prompts are worked off in rows that share
/// their common beginning; keys and values of what was read are kept. `done` hears how many prompts are finished and may
/// stop the work with an error.
///
/// # Errors
/// Those of the backbone and of `done`.
pub fn generate(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    prompts: &[&[u32]],
    end: u32,
    longest: usize,
    done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    generate_in_rows(backbone, adapter, prompts, (end, longest), TOKEN_BUDGET, done)
}

fn generate_in_rows(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    prompts: &[&[u32]],
    (end, longest): (u32, usize),
    budget: usize,
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    let shared = shared_beginning(prompts);
    let mut answers = Vec::with_capacity(prompts.len());
    for group in groups(prompts, shared, longest, budget) {
        let (tree, leaves) = pack(&prompts[group], shared);
        answers.extend(greedy(backbone, adapter, tree, &leaves, &[end], longest)?);
        done(answers.len())?;
    }
    Ok(answers)
}
