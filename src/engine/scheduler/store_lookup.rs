//! Asks the store for results.

use super::{run_context::RunContext, state::States};
use crate::{
    base::{digest::Digest, error::Result},
    engine::{parallel, plan::Action},
    store::ActionResult,
};

/// What the store knows of an action.
pub struct Found {
    pub key: Digest,
    pub result: Option<ActionResult>,
    /// Whether its name stands for this key already.
    noted: bool,
    /// Whether the result's description is there.
    described: bool,
}

/// What the store knows of each action, in their order; none where an action has no key. Many are looked up side by side.
pub fn look_up(cx: &RunContext, states: &States, actions: Vec<usize>) -> Vec<(usize, Option<Found>)> {
    let (plan, store) = (cx.plan, cx.store);
    parallel::map(actions, |i| {
        let found = plan.key(i, |input| states.finished(input)).map(|key| {
            let result = if cx.forced.contains(&i) { None } else { store.lookup(&key) };
            let described = result.is_none() || store.is_described(&key);
            Found { key, result, noted: store.latest_key(&plan.identity(i)) == Some(key), described }
        });
        (i, found)
    })
}

/// Notes that an action uses a result that was found, and writes the result's description anew where a repair has taken it out.
///
/// # Errors
/// If the store can't be written.
pub fn note_use(cx: &RunContext, states: &States, i: usize, found: &Found) -> Result<()> {
    if !found.noted {
        cx.store.note_use(found.key, &cx.plan.identity(i))?;
    }
    if found.described {
        return Ok(());
    }
    let Some(preimage) = states.preimage(i) else { return Ok(()) };
    let Action { name, resolved, .. } = cx.action(i);
    let record =
        serde_json::json!({ "action": name, "preimage": preimage, "unkeyed": resolved.unkeyed, "reasons": [] });
    cx.store.write_description(&found.key, &record)
}

/// Whether a result that is about to be copied into the project is what its name says; if not, it is dropped.
///
/// # Errors
/// If it can't be dropped.
pub fn is_sound(cx: &RunContext, i: usize, result: &ActionResult) -> Result<bool> {
    if cx.action(i).export.is_none() {
        return Ok(true);
    }
    let damaged = cx.store.damaged(&result.files);
    for digest in &damaged {
        cx.store.drop_blob(digest)?;
    }
    Ok(damaged.is_empty())
}
