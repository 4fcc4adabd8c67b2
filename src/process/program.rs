//! The program that runs, as a child of itself.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use crate::base::error::{Error, Result};

/// The kernel's name for the program that a process runs. It leads to that program also where its file has been replaced or
/// removed meanwhile.
const SELF: &str = "/proc/self/exe";

/// A command that starts the program that this process runs, with `argument`.
///
/// # Errors
/// If the program can't be found.
pub fn this_program(argument: &str) -> Result<Command> {
    let mut command = if Path::new(SELF).exists() {
        Command::new(SELF)
    } else {
        let path = std::env::current_exe()
            .map_err(|e| Error::environment(format!("can't find emopipe's own program: {e}")))?;
        Command::new(path)
    };
    command.arg0(env!("CARGO_PKG_NAME")).arg(argument);
    Ok(command)
}

/// Gives this process the program's name in lists of processes, where one that was started by [`this_program`] would be
/// called `exe`.
pub fn take_name() {
    // A name is of no account where it can't be set.
    let _ = std::fs::write("/proc/self/comm", env!("CARGO_PKG_NAME"));
}
