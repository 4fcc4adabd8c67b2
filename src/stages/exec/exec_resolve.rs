//! Planning of `exec`: digests of the files and variables that a command reads.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    exec_table::{ALWAYS, ExecParams, ExecTable, ExecUnkeyed, OUT},
    outputs::parts,
};
use crate::{
    config::{Diagnostic, Node, Span},
    engine::{ResolveContext, Resolved, worker_env},
    stages::lookup::json,
};

/// The description of a command.
///
/// # Errors
/// All that is wrong with the stage, and files that can't be read.
pub(super) fn resolve(cx: &ResolveContext, table: ExecTable) -> Result<Resolved<ExecParams>, Vec<Diagnostic>> {
    let node = &cx.action.params;
    let mut diagnostics = diagnostics(cx, &table);
    let spec = cx.spec;
    let root = &spec.pipeline.root;
    let mut files = BTreeMap::new();
    for file in &table.files {
        match spec.tracked_fs.digest(&root.join(file)) {
            Ok(digest) => {
                files.insert(file.clone(), digest);
            }
            Err(e) => diagnostics.push(
                Diagnostic::new(e.message).at(span(node, "files")).help("paths are relative to the pipeline's root"),
            ),
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let unset = table.secret_env.iter().filter(|name| !spec.tracked_fs.is_set(name));
    let missing = unset
        .map(|name| {
            Diagnostic::new(format!("`secret_env` names {name}, which isn't set"))
                .at(span(node, "secret_env"))
                .help("set it in the environment of emopipe")
        })
        .collect();
    let variables = ALWAYS.map(str::to_owned).into_iter().chain(table.pass_env.iter().cloned());
    let variables = variables.chain(table.secret_env.iter().cloned()).collect();
    let pass_env = table.pass_env.into_iter().map(|name| (name.clone(), spec.tracked_fs.variable(&name))).collect();
    let params = ExecParams { command: table.command, files, env: table.env, outputs: table.outputs, pass_env };
    Ok(Resolved {
        unkeyed: json(&ExecUnkeyed { root: root.clone(), secret_env: table.secret_env })?,
        tolerance: table.tolerance,
        variables: Some(variables),
        missing,
        ..Resolved::of(params)
    })
}

/// What can be told to be wrong before anything runs, but for files.
fn diagnostics(cx: &ResolveContext, table: &ExecTable) -> Vec<Diagnostic> {
    let node = &cx.action.params;
    let mut found = Vec::new();
    let mut say =
        |text: String, key: &str, help: &str| found.push(Diagnostic::new(text).at(span(node, key)).help(help));
    if table.command.first().is_none_or(String::is_empty) {
        say("`command` is empty".into(), "command", "name a program, such as [\"python3\", \"script.py\"]");
    }
    if table.command.iter().any(|word| word.contains('\0')) {
        say("`command` holds a NUL, which no argument can".into(), "command", "take it out");
    }
    if table.outputs.is_empty() {
        say("`outputs` is empty".into(), "outputs", "name the files that the command writes below {out}");
    }
    for output in table.outputs.iter().filter(|o| parts(o).is_none()) {
        let text = format!("the output `{}` isn't a file below {{out}}", output.escape_debug());
        say(text, "outputs", "write a relative path without `..`, such as \"tables/scores.csv\"");
    }
    for (key, text) in variable_diagnostics(table) {
        say(text, key, "each variable that the command gets is named once; `env` gives it a value");
    }
    for input in &cx.action.inputs {
        let role = input.role.as_str();
        let why = match role {
            OUT => "`{out}` stands for the folder to write to".to_owned(),
            "" | "." | ".." => "it names a folder of the command".to_owned(),
            _ if role.contains(['/', '{', '}', '\0']) => "`{ROLE}` names a folder of the command".to_owned(),
            _ => continue,
        };
        found.push(
            Diagnostic::new(format!("an input of an `exec` stage can't be called `{}`: {why}", role.escape_debug()))
                .at(input.span)
                .help("give the role another name, and use that in `command`"),
        );
    }
    found
}

/// What is wrong with the variables that a stage names: the key, and a sentence.
fn variable_diagnostics(table: &ExecTable) -> Vec<(&'static str, String)> {
    let named = [
        ("env", table.env.keys().collect::<Vec<_>>()),
        ("pass_env", table.pass_env.iter().collect()),
        ("secret_env", table.secret_env.iter().collect()),
    ];
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, names) in named {
        for name in names {
            if name.is_empty() || name.contains(['=', '\0', '*']) {
                found.push((key, format!("`{}` is no name of a variable", name.escape_debug())));
            } else if !seen.insert(name) {
                found.push((key, format!("`{name}` is named twice among `env`, `pass_env` and `secret_env`")));
            } else if key != "env" && worker_env::is_ours(name) {
                found.push((key, format!("`{name}` is set by emopipe itself")));
            }
        }
    }
    for name in table.env.iter().filter(|(_, value)| value.contains('\0')).map(|(name, _)| name) {
        found.push(("env", format!("the value of `{name}` holds a NUL, which no variable can")));
    }
    found
}

fn span(node: &Node, key: &str) -> Span {
    node.get(key).map_or(node.span, |n| n.span)
}
