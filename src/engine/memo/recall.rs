//! Finds the memo of a command line, and leaves one.

use std::fs;

use super::{question::Question, witness::Memo};
use crate::{
    base::{error::Result, machine::Resources},
    engine::{plan::Plan, scheduler::Summary},
    store::{Lease, Store},
};

/// The memo of this question, if all that it says is still so; and its store, entered.
pub fn recall(question: &Question, machine: Resources) -> Option<(Lease, Memo)> {
    let id = question.id()?;
    question.stores().into_iter().find_map(|root| {
        let memo = Memo::decode(&fs::read(Lease::memo_in(&root, &id)).ok()?)?;
        // Lease before anything is looked at, so that nobody cleans the store meanwhile.
        let store = Lease::new(&root).ok()?;
        memo.holds(&store, machine).then_some((store, memo))
    })
}

/// Leaves a memo of a run that found everything; none where that isn't all there is to say of it.
/// `scores` are the last words on how good the results are.
///
/// # Errors
/// If it can't be written.
pub fn remember(
    question: &Question,
    plan: &Plan,
    store: &Store,
    machine: Resources,
    summary: &Summary,
    scores: Vec<String>,
) -> Result<()> {
    let (Some(id), Some(memo)) = (question.id(), Memo::of(plan, store, machine, summary, scores)?) else {
        return Ok(());
    };
    store.write_memo(&id, &memo.encode()?)
}
