//! Commands, terminal view, exit codes.

mod bench;
mod board;
mod cli_command;
mod command_line;
mod command_result;
mod commands;
mod entry_point;
mod last_words;
mod limit_args;
mod live;
mod manual;
mod nearest_profile;
mod pipeline_args;
mod planned;
mod refusal;
mod remote_traffic;
mod scores;
mod signals;
mod store_audit;
mod terminal;
mod value_parsers;
mod view;

pub use entry_point::{check, main};
