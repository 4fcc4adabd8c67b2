//! `prepare`: a dataset's files become the examples of a task.

mod prepare_resolve;
mod prepare_run;
mod prepare_stage;
#[cfg(test)]
mod tests;

pub use prepare_stage::Prepare;
