//! Vouching: a human says that a change of the description can't change the result, and the earlier result stands.

use super::{
    key::Preimage,
    plan::{Forecast, Plan},
    reasons::{Reason, differences},
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    store::{Acceptance, Store},
};

/// One action whose earlier result stands from now on.
#[derive(Debug)]
pub struct Accepted {
    pub action: String,
    pub artifact: Digest,
    /// What changed.
    pub reasons: Vec<Reason>,
}

/// Lets earlier results stand for those of `targets` that have none. `note` says why that is right; reports show it.
///
/// # Errors
/// Where an input isn't known yet, or there is no earlier result to stand in.
pub fn accept(plan: &Plan, store: &Store, targets: &[usize], note: &str) -> Result<Vec<Accepted>> {
    let forecasts = plan.forecast(store, &Default::default());
    let mut found = Vec::new();
    for &i in targets {
        let name = &plan.actions[i].name;
        let Forecast::Run { preimage, reasons } = &forecasts[i] else { continue };
        let preimage = preimage.as_ref().ok_or_else(|| {
            Error::input(format!("{name} can't be accepted before its inputs are known"))
                .help(reasons.last().map_or_else(String::new, ToString::to_string))
        })?;
        let identity = plan.identity(i);
        let earlier = store.latest_key(&identity).and_then(|key| Some((key, store.lookup(&key)?)));
        let (from, result) = earlier.ok_or_else(|| {
            Error::input(format!("{name} has no earlier result that could stand for the new one"))
                .help("run it instead")
        })?;
        let old = store.preimage(&from).as_ref().and_then(Preimage::of_record);
        found.push((i, identity, name, preimage, from, result, old));
    }
    let mut accepted = Vec::new();
    for (i, identity, name, preimage, from, result, old) in found {
        let reasons = old.map(|old| differences(&old, preimage)).unwrap_or_default();
        let record = serde_json::json!({
            "action": name,
            "preimage": preimage,
            "previous": from,
            "reasons": reasons,
            "accepted": note,
            "makers": plan.makers(i),
        });
        let acceptance = Acceptance { from, note: note.to_owned() };
        store.accept(preimage.key(), &identity, &result, acceptance, &record)?;
        accepted.push(Accepted { action: name.clone(), artifact: result.artifact, reasons });
    }
    Ok(accepted)
}
