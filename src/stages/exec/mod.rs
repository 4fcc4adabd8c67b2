//! `exec`: any command with declared inputs and outputs, so that a user's own script is a stage like any other.
//!
//! A command is untrusted in one sense: it may do more than it says. It gets copies of its inputs, a folder of its own to write
//! to, and an environment of named variables. What it started has ended before its outputs are looked at, and only regular
//! files that lie in its folder become outputs.

mod command;
mod command_env;
mod exec_resolve;
mod exec_run;
mod exec_stage;
mod exec_table;
mod inputs;
mod outputs;
mod scratch;
mod secret_variables;

pub(super) use exec_stage::Exec;
