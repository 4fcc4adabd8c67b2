//! `emopipe reference`: every key of pipeline files, or every command and argument, as `docs/` has them.

mod command_pages;
mod file_pages;
mod json_shape;
mod key_rows;
mod page;
mod sections;
mod stated_default;
mod type_words;

use clap::CommandFactory;

use super::{
    CommandResult,
    args::{Cli, ReferenceArgs},
    terminal,
};
use crate::{config, stages};

pub(super) fn reference(args: &ReferenceArgs) -> CommandResult {
    let page = match args.cli {
        true => command_pages::page(Cli::command()),
        false => file_pages::page(&config::json_schema(&stages::vocabulary())),
    };
    terminal::print_verbatim(&page);
    Ok(())
}
