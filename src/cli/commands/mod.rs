//! One file a command: its arguments and what it does.

mod accept;
mod clean;
mod command_registry;
mod diff;
mod du;
mod explain;
mod gc;
mod graph;
mod lock;
mod pin;
mod plan_command;
mod pull;
mod push;
mod run;
mod schema_command;
mod status;
mod supervise;
mod verify;
mod worker_command;

pub use command_registry::COMMANDS;
