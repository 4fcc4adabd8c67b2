//! What the journals of earlier runs tell.

mod outlook;
mod past_runs;
mod timings;

pub use outlook::Outlook;
pub use past_runs::{Run, last_used, runs};
pub use timings::{Timings, stage};
