//! `memory-plan`: what training and evaluating every method on every task will hold in memory, from the tokens alone.

mod memory_plan_resolve;
mod memory_plan_run;
mod memory_plan_stage;
mod memory_plan_table;

pub use memory_plan_stage::MemoryPlan;
