//! The stage kind: its table, its description, and the order in which an action goes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    command, command_env,
    inputs::Inputs,
    outputs::{self, parts},
    scratch::Scratch,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    config::{self, Diagnostic, Node},
    engine::{Context, ResolveContext, Resolved, StageKind},
    process::Task,
};

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecTable {
    /// Program and arguments. `{out}` is the folder to write to, `{ROLE}` the folder (or the only file) of an input.
    command: Vec<String>,
    /// Files of the project that the command reads, relative to the pipeline's root. Their contents enter the key.
    #[serde(default)]
    files: Vec<String>,
    /// Environment variables and their values.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables of emopipe's own environment that the command gets. Digests of their values enter the key.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Variables that hold secrets: the command gets them, they enter no key, and their values are masked in what it prints.
    #[serde(default)]
    pub secret_env: Vec<String>,
    /// Files the command writes below `{out}`. All must be there afterwards; nothing else is kept.
    outputs: Vec<String>,
    /// How far numbers in the outputs may differ, relatively, when `emopipe verify --rerun` computes them again (default: not
    /// at all).
    #[serde(default)]
    tolerance: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Params {
    command: Vec<String>,
    files: BTreeMap<String, Digest>,
    env: BTreeMap<String, String>,
    outputs: Vec<String>,
    /// Digests of values; none where a variable isn't set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pass_env: BTreeMap<String, Option<Digest>>,
}

#[derive(Serialize, Deserialize)]
struct Unkeyed {
    root: PathBuf,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secret_env: Vec<String>,
}

/// The name that stands for the folder to write to.
const OUT: &str = "out";

pub struct Exec;

impl StageKind for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn version(&self) -> u32 {
        1
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<ExecTable>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<ExecTable>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let node = &cx.action.params;
        let table: ExecTable = config::from_node(node)?;
        let mut problems = problems(cx, &table);
        let spec = cx.spec;
        let root = &spec.pipeline.root;
        let mut files = BTreeMap::new();
        for file in &table.files {
            match spec.tracked_fs.digest(&root.join(file)) {
                Ok(digest) => {
                    files.insert(file.clone(), digest);
                }
                Err(e) => problems.push(
                    Diagnostic::new(e.message)
                        .at(span(node, "files"))
                        .help("paths are relative to the pipeline's root"),
                ),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let unset = table.secret_env.iter().filter(|name| !cx.spec.tracked_fs.is_set(name));
        let missing = unset
            .map(|name| {
                Diagnostic::new(format!("`secret_env` names {name}, which isn't set"))
                    .at(span(node, "secret_env"))
                    .help("set it in the environment of emopipe")
            })
            .collect();
        let variables = command_env::ALWAYS.map(str::to_owned).into_iter().chain(table.pass_env.iter().cloned());
        let variables = variables.chain(table.secret_env.iter().cloned()).collect();
        let pass_env = table.pass_env.into_iter().map(|name| (name.clone(), spec.tracked_fs.variable(&name))).collect();
        let params = Params { command: table.command, files, env: table.env, outputs: table.outputs, pass_env };
        Ok(Resolved {
            params: serde_json::json!(params),
            unkeyed: serde_json::json!(Unkeyed { root: root.clone(), secret_env: table.secret_env }),
            tolerance: table.tolerance,
            variables: Some(variables),
            missing,
            ..Resolved::default()
        })
    }

    fn outputs(&self, params: &serde_json::Value) -> Option<Vec<String>> {
        serde_json::from_value(params.get("outputs")?.clone()).ok()
    }

    fn executes(&self) -> bool {
        true
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let params: Params = cx.params()?;
        let unkeyed: Unkeyed = serde_json::from_value(cx.job.unkeyed.clone())?;
        let work = cx.work_folder()?;
        let scratch = Scratch::new(work)?;
        let inputs = Inputs::place(cx, &scratch.folder("in")?)?;
        let out = scratch.folder(OUT)?;
        let mut places = inputs.places.clone();
        places.insert(OUT.to_owned(), out.clone());
        let words: Vec<String> = params.command.iter().map(|word| command::substitute(word, &places)).collect();
        let (env, secrets) = command_env::of_command(&params.env, &params.pass_env, &unkeyed.secret_env)?;
        let task = Task {
            words: words.iter().map(OsString::from).collect(),
            env,
            folder: unkeyed.root.clone().into(),
            lock: work.join("command.lock").into(),
        };
        // The command may have waited for hours since its files were read for its key.
        check_files(&params.files, &unkeyed.root)?;
        command::run(&task, &words.join(" "), &secrets, cx)?;
        check_files(&params.files, &unkeyed.root)?;
        inputs.check_unchanged()?;
        outputs::take(&params.outputs, &out, cx.out)
    }
}

/// What can be told to be wrong before anything runs, but for files.
fn problems(cx: &ResolveContext, table: &ExecTable) -> Vec<Diagnostic> {
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
    for (key, text) in command_env::problems(table) {
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

/// Whether the files of the project are those that the key knows. Another result must not be kept under it.
fn check_files(files: &BTreeMap<String, Digest>, root: &Path) -> Result<()> {
    for (name, digest) in files {
        if Digest::of_file(&root.join(name))? != *digest {
            return Err(Error::input(format!("`{name}` changed after this run had read it"))
                .help("nothing was kept of this action; run again, and it is computed from the file as it is then"));
        }
    }
    Ok(())
}

fn span(node: &Node, key: &str) -> config::Span {
    node.get(key).map_or(node.span, |n| n.span)
}
