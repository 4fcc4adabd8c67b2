//! `emopipe explain`: why an action ran or would run, and what it was made from, by digest.

use std::fmt::Write;

use super::{Outcome, args::TargetArgs, load, open_store, print};
use crate::{
    engine::{
        explain::Reason,
        plan::{Forecast, Plan},
    },
    store::Store,
};

pub fn explain(args: &TargetArgs) -> Outcome {
    let plan = load(&args.pipeline)?;
    let store = open_store(&args.pipeline, &plan)?;
    let forecasts = plan.forecast(&store, &Default::default());
    let mut out = String::new();
    for i in plan.matching(&args.target)? {
        describe(&plan, &store, &forecasts, i, &mut out);
    }
    print(&out);
    Ok(())
}

fn describe(plan: &Plan, store: &Store, forecasts: &[Forecast], i: usize, out: &mut String) {
    let action = &plan.actions[i];
    let _ = writeln!(out, "{}", action.name);
    match &forecasts[i] {
        Forecast::Cached { key, outcome } => {
            let _ = writeln!(out, "  cached: key {}, artifact {}", key.short(), outcome.artifact.short());
            if let Some(record) = store.preimage(key) {
                let run = record.get("run").and_then(|r| r.as_str()).unwrap_or("?");
                let reasons: Vec<Reason> =
                    record.get("reasons").and_then(|r| serde_json::from_value(r.clone()).ok()).unwrap_or_default();
                let _ = writeln!(out, "  computed in run {run}, because:");
                for reason in reasons {
                    let _ = writeln!(out, "    {reason}");
                }
            }
            for file in &outcome.files {
                let _ = writeln!(out, "  file {}  {}", file.digest, file.name);
            }
        }
        Forecast::Run { reasons } => {
            let _ = writeln!(out, "  would run, because:");
            for reason in reasons {
                let _ = writeln!(out, "    {reason}");
            }
        }
    }
    for (role, sources) in &action.inputs {
        for &source in sources {
            let digest = match &forecasts[source] {
                Forecast::Cached { outcome, .. } => outcome.artifact.short(),
                Forecast::Run { .. } => "not computed".to_owned(),
            };
            let _ = writeln!(out, "  input {role}: {}  {digest}", plan.actions[source].name);
        }
    }
}
