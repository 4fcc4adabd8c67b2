//! The program: a command from its arguments to its exit code.

use std::{ffi::OsString, process::ExitCode};

use tracing_subscriber::EnvFilter;

use super::{
    command_line,
    command_result::{CommandResult, Failure},
    terminal::{self, hanging},
};
use crate::base::error::Error;

/// Parses the command line and runs it. Exit codes: 0 done, 1 something failed (also what was to be printed and couldn't be),
/// 2 wrong usage or pipeline, 130 interrupted.
pub fn main() -> ExitCode {
    let code = match command_line::read(std::env::args_os()) {
        Ok(command) => {
            terminal::adopt(log_filter(command.verbose));
            ended(command.execute())
        }
        Err(usage) => usage_or_help(&usage),
    };
    match terminal::lost_output() {
        Some(error) => {
            error.iter().for_each(complain);
            if code == 0 { ExitCode::from(1) } else { ExitCode::from(code) }
        }
        None => ExitCode::from(code),
    }
}

/// Says how a command ended, where it didn't end well; the exit code.
fn ended(outcome: CommandResult) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(Failure::Pipeline(text)) => {
            terminal::say_painted(&text);
            2
        }
        Err(Failure::Error(e)) => {
            complain(&e);
            1
        }
        Err(Failure::Actions) => 1,
        Err(Failure::Interrupted) => 130,
    }
}

/// Says what went wrong and what to do.
fn complain(error: &Error) {
    terminal::say(&format!("error: {}", hanging(&error.message)));
    if let Some(help) = &error.help {
        terminal::say(&format!("  help: {}", hanging(help)));
    }
}

/// What the command line's parser says: help and version where they belong, mistakes without what they could do to a terminal.
fn usage_or_help(said: &clap::Error) -> u8 {
    let text = said.render();
    match said.use_stderr() {
        true => terminal::say(text.to_string().trim_end_matches('\n')),
        false if terminal::colours(&std::io::stdout()) => terminal::print_verbatim(&text.ansi().to_string()),
        false => terminal::print_verbatim(&text.to_string()),
    }
    u8::try_from(said.exit_code()).unwrap_or(2)
}

/// Whether there is such a command line, without doing what it says.
///
/// # Errors
/// What is wrong with it.
pub fn check<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    command_line::read(arguments.into_iter().map(OsString::from)).map(drop).map_err(|e| e.to_string())
}

fn log_filter(verbose: u8) -> EnvFilter {
    let default = ["warn", "emopipe=info", "emopipe=debug", "debug"][usize::from(verbose.min(3))];
    EnvFilter::try_from_env("EMOPIPE_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}
