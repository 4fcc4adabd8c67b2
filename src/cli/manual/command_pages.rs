//! The reference of the command line, from the definitions that parse it.

use std::collections::BTreeSet;

use clap::{Arg, Args, Command, Id};

use super::{
    page::{Page, link, one_line},
    stated_default,
};
use crate::cli::{command_result::EXIT_CODES, pipeline_args::PipelineArgs};

const INTRODUCTION: &str = "\
Every command, argument and option. `make reference` writes this page from the definitions that parse the command line, so it says
what `emopipe --help` says.";

const HEADER: [&str; 4] = ["argument", "default", "environment", "meaning"];

const EVERY: &str = "Options of every command";
const PIPELINES: &str = "Arguments of every command on a pipeline";

/// The whole page, from the program's command.
pub fn page(mut program: Command) -> String {
    program.build();
    let pipeline = PipelineArgs::augment_args(Command::new("pipeline"));
    let shared: BTreeSet<_> = pipeline.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let everywhere: BTreeSet<_> = program.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let mut page = Page::default();
    page.heading(1, "Reference of the command line");
    page.paragraph(INTRODUCTION);
    let commands = commands(&program);
    let contents = commands.iter().map(|command| {
        let heading = heading(command);
        format!("- {}: {}", link(&heading, &heading), about(command))
    });
    page.paragraph(&contents.collect::<Vec<_>>().join("\n"));
    page.heading(2, EVERY);
    page.table(HEADER, &rows(program.get_arguments()));
    page.heading(2, PIPELINES);
    page.table(HEADER, &rows(pipeline.get_arguments()));
    for command in &commands {
        page.heading(2, &heading(command));
        page.paragraph(&about(command));
        page.paragraph(&format!("```text\n{}\n```", usage(command)));
        let has = |id: &Id| command.get_arguments().any(|arg| arg.get_id() == id);
        let on_pipeline = shared.iter().all(has);
        let is_said = |id: &Id| everywhere.contains(id) || on_pipeline && shared.contains(id);
        page.table(HEADER, &rows(command.get_arguments().filter(|arg| !is_said(arg.get_id()))));
        if on_pipeline {
            page.paragraph(&format!("And the {}.", link(&lower_first(PIPELINES), PIPELINES)));
        }
    }
    page.heading(2, "Exit codes");
    page.table(["code", "meaning"], &exit_codes());
    page.into_text()
}

/// All commands that people call, those inside others after these.
fn commands(program: &Command) -> Vec<&Command> {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    shown.flat_map(|command| [vec![command], commands(command)].concat()).collect()
}

fn heading(command: &Command) -> String {
    format!("`{}`", command.get_bin_name().unwrap_or(command.get_name()))
}

fn about(command: &Command) -> String {
    command.get_about().map(|about| sentence(&about.to_string())).unwrap_or_default()
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    one_line(usage.trim_start_matches("Usage:"))
}

fn rows<'a>(arguments: impl Iterator<Item = &'a Arg>) -> Vec<[String; 4]> {
    arguments.filter(|arg| !arg.is_hide_set()).map(row).collect()
}

fn row(arg: &Arg) -> [String; 4] {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (mut meaning, stated) = stated_default::split(&help);
    let possible: Vec<_> =
        arg.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(|v| format!("`{}`", v.get_name())).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        meaning = format!("{} One of {}.", sentence(&meaning), possible.join(", "));
    }
    let values: Vec<_> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = match (values.is_empty() || !arg.get_action().takes_values(), arg.is_required_set()) {
        (_, true) => "**required**".to_owned(),
        (false, _) => values.join(", "),
        (true, _) => stated.unwrap_or_default(),
    };
    let environment = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    [format!("`{}`", spelled(arg)), default, environment, sentence(&meaning)]
}

/// How an argument is written: `-j`, `--jobs N`.
fn spelled(arg: &Arg) -> String {
    let names: Vec<_> = arg.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    let value = names.join(" ");
    if arg.is_positional() {
        let many = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        return if many { format!("<{value}>...") } else { format!("<{value}>") };
    }
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let name = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() { format!("{name} <{value}>") } else { name }
}

/// What `--help` says of exit codes, a row each.
fn exit_codes() -> Vec<[String; 2]> {
    let lines = EXIT_CODES.lines().filter_map(|line| line.trim().split_once("  "));
    lines.map(|(code, meaning)| [format!("`{code}`"), sentence(meaning)]).collect()
}

fn sentence(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}

fn lower_first(text: &str) -> String {
    text[..1].to_lowercase() + &text[1..]
}
