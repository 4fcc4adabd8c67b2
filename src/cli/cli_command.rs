//! What makes a command: its arguments, and what it does.

use clap::{ArgMatches, Args};

use super::command_result::CommandResult;

/// A command. Its arguments are the fields of the type, and the type's docstring is what help says of it.
pub trait CliCommand: Args + 'static {
    /// What people type.
    const NAME: &'static str;

    /// Whether help is silent about it, since it is emopipe itself that starts it.
    const HIDDEN: bool = false;

    /// Whether it may compute, so that the threads of this process have to be prepared first.
    const COMPUTES: bool = true;

    /// Does it.
    ///
    /// # Errors
    /// Why it ended without success.
    fn execute(&self) -> CommandResult;
}

/// What is still to be done once the command line has been read.
pub type Execute = Box<dyn FnOnce() -> CommandResult>;

/// A line of the registry.
#[derive(Clone, Copy)]
pub struct CommandEntry {
    /// What people type.
    pub name: &'static str,
    /// See [`CliCommand::COMPUTES`].
    pub computes: bool,
    /// The command for the parser of the command line.
    pub parser: fn() -> clap::Command,
    /// The command with the arguments that were given.
    pub read: fn(&ArgMatches) -> Result<Execute, clap::Error>,
}

impl CommandEntry {
    /// The line of a command.
    pub const fn of<C: CliCommand>() -> Self {
        Self {
            name: C::NAME,
            computes: C::COMPUTES,
            parser: || C::augment_args(clap::Command::new(C::NAME).hide(C::HIDDEN)),
            read: |matches| {
                let command = C::from_arg_matches(matches)?;
                Ok(Box::new(move || command.execute()))
            },
        }
    }
}
