//! Commands, terminal view, exit codes.

mod bench;
mod cli_command;
mod command_line;
mod command_result;
mod commands;
mod entry_point;
mod limit_args;
mod live;
mod load_plan;
mod manual;
mod nearest_profile;
mod pipeline_args;
mod progress_board;
mod refusal;
mod remote_traffic;
mod run_ending;
mod run_view;
mod scores;
mod signals;
mod store_audit;
mod terminal;
mod value_parsers;

pub use entry_point::{check, main};
