//! Runs a command to its end, and says how it ended.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use super::secret_variables::Secrets;
use crate::{
    base::{
        cgroup::memory_limit,
        error::{Error, Result},
        units::bytes,
    },
    engine::Context,
    process::{Ended, Supervised, Task, threads::FEWER},
};

/// How often to look whether the user wants to stop.
const POLL: Duration = Duration::from_millis(50);
const KILLED: i32 = 9;
/// What a shell says of a command that was killed.
const SHELL_KILLED: i32 = 128 + KILLED;

/// `word` with `{out}` and `{ROLE}` replaced; other braces are the command's own.
pub(super) fn substitute(word: &str, places: &BTreeMap<String, PathBuf>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let place = rest.find('}').and_then(|end| Some((end, places.get(&rest[1..end])?)));
        match place {
            Some((end, path)) => {
                out.push_str(&path.to_string_lossy());
                rest = &rest[end + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Runs the command until all that it started has ended.
///
/// # Errors
/// If it fails or is stopped, or if something that it started can't be ended.
pub(super) fn run(task: &Task, shown: &str, secrets: &Secrets, cx: &Context) -> Result<()> {
    let shown = secrets.mask(shown);
    let (log, masking) = log(secrets)?;
    let mut command = Supervised::start(task, log)?;
    let mut stopping = false;
    let ended = loop {
        if let Some(ended) = command.wait(POLL)? {
            break ended;
        }
        if cx.progress.stop_requested() && !stopping {
            command.stop();
            stopping = true;
        }
    };
    drop(command);
    if let Some(masking) = masking.filter(|_| ended.remaining.is_empty()) {
        let _ = masking.join();
    }
    if stopping {
        cx.checkpoint_reached()?;
    }
    if ended.not_started.is_none() {
        cx.progress.measure("planned_memory_bytes", cx.job.memory as f64);
        cx.progress.measure("peak_memory_bytes", ended.peak_memory as f64);
    }
    judge(&ended, &shown, cx.job.memory)?;
    for text in remarks(&ended, cx.job.memory) {
        cx.progress.message(&text);
    }
    Ok(())
}

/// Where the command's output goes: to this process's log, past whoever masks the secrets.
fn log(secrets: &Secrets) -> Result<(Stdio, Option<JoinHandle<()>>)> {
    if secrets.is_empty() {
        return Ok((Stdio::inherit(), None));
    }
    let failed = |e: std::io::Error| Error::environment(format!("can't read what the command prints: {e}"));
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let secrets = secrets.clone();
    let thread =
        std::thread::Builder::new().spawn(move || drop(secrets.filter(reader, std::io::stderr()))).map_err(failed)?;
    Ok((Stdio::from(writer), Some(thread)))
}

/// Whether the command ended well.
fn judge(ended: &Ended, shown: &str, declared: u64) -> Result<()> {
    if let Some(why) = &ended.not_started {
        let program = shown.split(' ').next().unwrap_or(shown);
        let text = format!("can't start `{program}`: {why}");
        return Err(if ended.scarce {
            Error::environment(text).help(FEWER)
        } else {
            Error::input(text).help("check the name, and that it is installed, on PATH and may be executed")
        });
    }
    if !ended.remaining.is_empty() {
        let text = format!("`{shown}` started processes that can't be ended: {}", ended.remaining.join(", "));
        return Err(Error::environment(text).help("end them by hand; until then they may write to its outputs"));
    }
    let Some(status) = ended.status.map(ExitStatus::from_raw) else {
        return Err(Error::internal(format!("lost `{shown}`")));
    };
    if status.success() {
        return Ok(());
    }
    let killed = ended.killed || status.signal() == Some(KILLED) || status.code() == Some(SHELL_KILLED);
    let (held, declared) = (bytes(ended.peak_memory), bytes(declared));
    Err(match (killed, ended.ran_short) {
        (true, true) => {
            let limit = memory_limit().map_or_else(String::new, |l| format!("; all together may hold {}", bytes(l)));
            Error::environment(format!(
                "`{shown}` was killed because memory ran out: {status}. It held {held} when last seen, and {declared} were \
                 set aside for it{limit}"
            ))
            .help("raise the stage's `resources.memory`, so that less runs beside it, or let the command hold less")
        }
        (true, false) => Error::input(format!("`{shown}` failed: {status}"))
            .help("its output is in the log; it was killed, and the kernel has no record that memory ran out"),
        (false, true) => Error::input(format!("`{shown}` failed: {status}")).help(format!(
            "its output is in the log; meanwhile the kernel ended a process because memory ran out, perhaps one of this \
             command, which held {held} when last seen"
        )),
        (false, false) => Error::input(format!("`{shown}` failed: {status}")).help("its output is in the log"),
    })
}

/// What is to be said of a command that ended well.
fn remarks(ended: &Ended, declared: u64) -> Vec<String> {
    let mut remarks = Vec::new();
    if !ended.left.is_empty() {
        remarks.push(format!(
            "the command ended and left processes running, which were ended before its outputs were read: {}",
            ended.left.join(", ")
        ));
    }
    if ended.ran_short {
        remarks.push(
            "while the command ran, the kernel ended a process because memory ran out, perhaps one of the command's"
                .to_owned(),
        );
    }
    if ended.peak_memory > declared {
        remarks.push(format!(
            "the command held {} of memory at its worst moment, and {} were set aside for it: see `resources.memory`",
            bytes(ended.peak_memory),
            bytes(declared)
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_in_braces_are_replaced_and_once() {
        let places = BTreeMap::from([("out".into(), PathBuf::from("/o/{in}")), ("in".into(), PathBuf::from("/i"))]);
        for (word, expected) in [
            ("{out}", "/o/{in}"),
            ("a={in}/x;{in}", "a=/i/x;/i"),
            ("{print $1} {{in}} {in", "{print $1} {/i} {in"),
            ("${x} {}", "${x} {}"),
        ] {
            assert_eq!(substitute(word, &places), expected);
        }
    }

    fn ended(status: i32, killed: bool, ran_short: bool) -> Ended {
        Ended { status: Some(status), killed, ran_short, peak_memory: 300 << 20, ..Ended::default() }
    }

    #[test]
    fn memory_is_blamed_on_evidence_alone() {
        let says = |e: Ended| judge(&e, "hog", 50 << 20).unwrap_err();
        for killed in [ended(9, true, true), ended(137 << 8, false, true), ended(1 << 8, true, true)] {
            let error = says(killed);
            assert!(error.message.contains("killed because memory ran out"), "{error}");
            assert!(error.message.contains("300.0 MiB") && error.message.contains("50.0 MiB"), "{error}");
        }
        for other in [ended(9, true, false), ended(137 << 8, false, false), ended(1 << 8, false, true)] {
            let error = says(other);
            assert!(!error.message.contains("memory"), "{error}");
        }
        assert!(judge(&ended(0, false, true), "hog", 1).is_ok());
    }

    #[test]
    fn more_memory_than_declared_is_said() {
        let said = remarks(&ended(0, false, false), 50 << 20);
        assert!(said.len() == 1 && said[0].contains("300.0 MiB") && said[0].contains("50.0 MiB"), "{said:?}");
        assert!(remarks(&ended(0, false, false), 1 << 30).is_empty());
    }
}
