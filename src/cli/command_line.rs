//! The command line as a whole: what all commands have in common, and which one is meant.

use std::ffi::OsString;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, error::ErrorKind};

use super::{
    cli_command::{CliCommand, CommandEntry, Execute},
    command_result::{CommandResult, EXIT_CODES},
    commands::COMMANDS,
    manual::{command_pages, file_pages},
    terminal,
};
use crate::{config, process, stages};

#[derive(Parser)]
#[command(name = "emopipe", version, about, after_help = EXIT_CODES, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct CommonArgs {
    /// Say more on standard error (repeat for more).
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

/// Print a completion script for a shell.
#[derive(Args)]
struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

impl CliCommand for CompletionsArgs {
    const NAME: &'static str = "completions";
    const COMPUTES: bool = false;

    fn execute(&self) -> CommandResult {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut parser(), "emopipe", &mut out);
        terminal::print_verbatim(&String::from_utf8_lossy(&out));
        Ok(())
    }
}

/// Print the reference of pipeline files, as docs/reference.md has it.
#[derive(Args)]
struct ReferenceArgs {
    /// That of the command line, as docs/cli.md has it.
    #[arg(long)]
    cli: bool,
}

impl CliCommand for ReferenceArgs {
    const NAME: &'static str = "reference";
    const HIDDEN: bool = true;
    const COMPUTES: bool = false;

    fn execute(&self) -> CommandResult {
        terminal::print_verbatim(&match self.cli {
            true => command_pages::page(parser()),
            false => file_pages::page(&config::json_schema(&stages::vocabulary())),
        });
        Ok(())
    }
}

/// A command line that says what can be done.
pub struct GivenCommand {
    /// How often `--verbose` was said.
    pub verbose: u8,
    computes: bool,
    execute: Execute,
}

impl GivenCommand {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Why the command ended without success.
    pub fn execute(self) -> CommandResult {
        if self.computes {
            process::threads::prepare()?;
        }
        (self.execute)()
    }
}

fn entries() -> impl Iterator<Item = CommandEntry> {
    // Those that help doesn't show come last.
    COMMANDS.iter().copied().chain([CommandEntry::of::<CompletionsArgs>(), CommandEntry::of::<ReferenceArgs>()])
}

fn parser() -> clap::Command {
    entries().fold(CommonArgs::command(), |parser, entry| parser.subcommand((entry.parser)()))
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// What is wrong with it; also the help and the version, where these are asked for.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<GivenCommand, clap::Error> {
    let matches = parser().try_get_matches_from(arguments)?;
    let known = |e: clap::Error| e.format(&mut parser());
    let CommonArgs { verbose } = CommonArgs::from_arg_matches(&matches).map_err(known)?;
    let given = matches.subcommand().and_then(|(name, of_it)| Some((entries().find(|e| e.name == name)?, of_it)));
    let (entry, of_it) = given.ok_or_else(|| parser().error(ErrorKind::MissingSubcommand, "no command is given"))?;
    Ok(GivenCommand { verbose, computes: entry.computes, execute: (entry.read)(of_it).map_err(known)? })
}
