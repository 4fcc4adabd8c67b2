//! `train`: an adapter from tokens and a frozen backbone.

mod train_resolve;
mod train_run;
mod train_stage;
mod train_table;

pub use train_stage::Train;
pub use train_table::SUMMARY_FILE;
