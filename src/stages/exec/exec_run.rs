//! The order in which a command is run: inputs placed, files checked before and after, outputs taken.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::{
    command, command_env,
    exec_table::{ExecParams, ExecUnkeyed, OUT},
    inputs::Inputs,
    outputs,
    scratch::Scratch,
};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    engine::Context,
    process::Task,
};

/// Runs the command and keeps its outputs.
///
/// # Errors
/// If it fails, writes something else than it says, or reads files that have changed; and where the user asked to stop.
pub(super) fn run(cx: &Context, params: &ExecParams) -> Result<()> {
    let unkeyed: ExecUnkeyed = cx.unkeyed()?;
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
