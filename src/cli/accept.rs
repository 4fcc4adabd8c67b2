//! `emopipe accept`: earlier results stand for changed descriptions, because a human says so.

use std::fmt::Write;

use super::{CommandResult, args::AcceptArgs, load, open_store, print};
use crate::engine::acceptance;

pub fn accept(args: &AcceptArgs) -> CommandResult {
    let plan = load(&args.pipeline)?;
    let store = open_store(&args.pipeline, &plan)?;
    let accepted = acceptance::accept(&plan, &store, &plan.matching(&args.stage)?, &args.note)?;
    let mut out = String::new();
    for a in &accepted {
        let _ = writeln!(out, "{}: {} stands", a.action, a.artifact.short());
        for reason in &a.reasons {
            let _ = writeln!(out, "    {reason}");
        }
    }
    let _ = writeln!(out, "{} accepted; reports made from them will say so", accepted.len());
    print(&out);
    Ok(())
}
