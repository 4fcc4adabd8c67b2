//! `exec`: any command with declared inputs and outputs, so that a user's own script is a stage like any other.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{self, Diagnostic, Node},
    engine::{Artifact, Context, ResolveContext, Resolved, StageKind},
    error::{Error, IoAt, Result},
    store::Digest,
};

/// How long to wait before looking at the command again: at first, and at most.
const FIRST_POLL: Duration = Duration::from_millis(1);
const POLL: Duration = Duration::from_millis(50);

/// The stage's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecTable {
    /// Program and arguments. `{out}` is the folder to write to, `{ROLE}` the folder (or the only file) of an input.
    command: Vec<String>,
    /// Files of the project that the command reads, relative to the pipeline's root. Their contents enter the key.
    #[serde(default)]
    files: Vec<String>,
    /// Environment variables that the command gets besides those of emopipe itself.
    #[serde(default)]
    env: BTreeMap<String, String>,
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
}

#[derive(Serialize, Deserialize)]
struct Unkeyed {
    root: PathBuf,
}

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
        let mut problems = Vec::new();
        if table.command.is_empty() {
            problems.push(
                Diagnostic::new("`command` is empty")
                    .at(span(node, "command"))
                    .help("name a program, such as [\"python3\", \"script.py\"]"),
            );
        }
        if table.outputs.is_empty() {
            problems.push(
                Diagnostic::new("`outputs` is empty")
                    .at(span(node, "outputs"))
                    .help("name the files that the command writes below {out}"),
            );
        }
        for output in table.outputs.iter().filter(|o| !stays_inside(o)) {
            problems
                .push(Diagnostic::new(format!("the output `{output}` leaves its folder")).at(span(node, "outputs")));
        }
        let root = &cx.spec.pipeline.root;
        let mut files = BTreeMap::new();
        for file in &table.files {
            match cx.spec.surroundings.digest(&root.join(file)) {
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
        let params = Params { command: table.command, files, env: table.env, outputs: table.outputs };
        Ok(Resolved {
            params: serde_json::json!(params),
            unkeyed: serde_json::json!(Unkeyed { root: root.clone() }),
            tolerance: table.tolerance,
            ..Resolved::default()
        })
    }

    fn executes(&self) -> bool {
        true
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let params: Params = cx.params()?;
        let unkeyed: Unkeyed = serde_json::from_value(cx.job.unkeyed.clone())?;
        let inputs = tempfile::tempdir_in(cx.work_folder()?).io_at("create a folder in", cx.work)?;
        let mut places = BTreeMap::from([("out".to_owned(), cx.out.to_owned())]);
        for (role, artifacts) in &cx.job.inputs {
            places.insert(role.clone(), place(artifacts, &inputs.path().join(role))?);
        }
        let words: Vec<String> = params.command.iter().map(|word| substitute(word, &places)).collect();
        // The command may have waited for hours since its files were read for its key.
        check_files(&params.files, &unkeyed.root)?;
        run_command(&words, &params.env, &unkeyed.root, cx)?;
        check_files(&params.files, &unkeyed.root)?;
        keep_only(cx.out, &params.outputs)
    }
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

/// Removes what isn't declared; what is must be there.
fn keep_only(out: &Path, outputs: &[String]) -> Result<()> {
    for output in outputs {
        if !out.join(output).is_file() {
            return Err(Error::input(format!("the command ended well but didn't write `{output}`"))
                .help("write it below the folder that `{out}` stands for, or take it out of `outputs`"));
        }
    }
    let declared: Vec<PathBuf> = outputs.iter().map(|o| out.join(o)).collect();
    let mut open = vec![out.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).io_at("read", &folder)? {
            let path = entry.io_at("read", &folder)?.path();
            if declared.iter().any(|d| d != &path && d.starts_with(&path)) {
                open.push(path);
            } else if !declared.contains(&path) {
                let is_folder = fs::symlink_metadata(&path).io_at("read", &path)?.is_dir();
                if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.io_at("remove", &path)?;
            }
        }
    }
    Ok(())
}

fn span(node: &Node, key: &str) -> config::Span {
    node.get(key).map_or(node.span, |n| n.span)
}

fn stays_inside(path: &str) -> bool {
    Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

/// Places a role's files in `folder`: its files directly where there is one artifact, else one numbered folder each.
/// Returns the file itself where there is only one.
fn place(artifacts: &[Artifact], folder: &Path) -> Result<PathBuf> {
    let mut last = folder.to_owned();
    let mut count = 0;
    for (i, artifact) in artifacts.iter().enumerate() {
        let base = if artifacts.len() == 1 { folder.to_owned() } else { folder.join(i.to_string()) };
        for (name, blob) in &artifact.files {
            let to = base.join(name);
            let parent = to.parent().unwrap_or(&base);
            fs::create_dir_all(parent).io_at("create", parent)?;
            // A hard link costs nothing, nor does a copy that shares its bytes; only where the filesystem has neither are they
            // written again.
            if fs::hard_link(blob, &to).is_err() {
                reflink_copy::reflink_or_copy(blob, &to).io_at("copy to", &to)?;
            }
            last = to;
            count += 1;
        }
    }
    Ok(if count == 1 { last } else { folder.to_owned() })
}

fn substitute(word: &str, places: &BTreeMap<String, PathBuf>) -> String {
    places.iter().fold(word.to_owned(), |w, (name, path)| w.replace(&format!("{{{name}}}"), &path.to_string_lossy()))
}

fn run_command(words: &[String], env: &BTreeMap<String, String>, root: &Path, cx: &Context) -> Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Err(Error::internal("an empty command")) };
    let mut command = Command::new(program);
    command.args(arguments).envs(env).current_dir(root).stdin(Stdio::null());
    command.stdout(Stdio::from(std::io::stderr())).stderr(Stdio::inherit());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|e| {
        Error::input(format!("can't start `{program}`: {e}"))
            .help("check the name and that it is installed and on PATH")
    })?;
    let mut wait = FIRST_POLL;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| Error::environment(format!("lost the command: {e}")))? {
            return if status.success() {
                Ok(())
            } else {
                Err(Error::input(format!("`{}` failed: {status}", words.join(" "))).help("its output is in the log"))
            };
        }
        if cx.progress.stop_requested() {
            stop(&mut child);
        }
        cx.checkpoint_reached()?;
        std::thread::sleep(wait);
        wait = (wait * 2).min(POLL);
    }
}

/// Ends the command and what it started.
fn stop(child: &mut std::process::Child) {
    #[cfg(unix)]
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
