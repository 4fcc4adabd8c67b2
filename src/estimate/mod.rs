//! What an action will hold and how long it will take, from shapes and lengths alone, and what would make it fit.

pub mod feasibility;
pub mod footprint;
pub mod peak_memory;
pub mod time;
