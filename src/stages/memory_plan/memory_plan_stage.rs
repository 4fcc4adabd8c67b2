//! The kind `memory-plan`: what training and evaluating every method on every task will hold in memory.

use super::{
    memory_plan_resolve, memory_plan_run,
    memory_plan_table::{MemoryPlanParams, MemoryPlanTable},
};
use crate::{
    base::error::Result,
    config::Diagnostic,
    engine::{Context, Isolation, ResolveContext, Resolved, TypedStage},
};

/// The kind `memory-plan`. Its artifact holds `memory.md` and `memory.csv`.
pub struct MemoryPlan;

impl TypedStage for MemoryPlan {
    const NAME: &'static str = "memory-plan";
    const VERSION: u32 = 6;
    const ISOLATION: Isolation = Isolation::InProcess;
    type Table = MemoryPlanTable;
    type Params = MemoryPlanParams;

    fn resolve(cx: &ResolveContext, table: MemoryPlanTable) -> Result<Resolved<MemoryPlanParams>, Vec<Diagnostic>> {
        memory_plan_resolve::resolve(cx, table)
    }

    fn outputs(_: &MemoryPlanParams) -> Option<Vec<String>> {
        Some(vec!["memory.csv".to_owned(), "memory.md".to_owned()])
    }

    fn run(cx: &Context, params: MemoryPlanParams) -> Result<()> {
        memory_plan_run::run(cx, params)
    }
}
