//! Requests to the remote store that people make, and how they end.

use std::{
    collections::HashSet,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use super::{
    command_result::{CommandResult, Failure},
    live::Live,
    refusal::refused,
    terminal::{hanging, print, say},
};
use crate::{
    base::{
        error::{Error, Result},
        tracked_fs::TrackedFs,
        units::bytes,
    },
    config::{self, RemoteConfig},
    engine::plan::Plan,
    remote::{Remote, Settings},
};

/// What the pipeline says of its remote store, completed by the user's own settings; `None` where neither names a place.
///
/// # Errors
/// What is wrong with the user's settings, rendered.
pub fn settings(pipeline: RemoteConfig, tracked_fs: &TrackedFs) -> Result<Option<Settings>, Failure> {
    let user = config::user_config(tracked_fs);
    if !user.diagnostics.is_empty() {
        return Err(refused(&user.diagnostics, &user.sources, &user.path));
    }
    Ok(Settings::new(pipeline.or(user.remote)))
}

/// The remote store.
///
/// # Errors
/// If none is named.
pub fn remote(pipeline: RemoteConfig, tracked_fs: &TrackedFs) -> Result<Remote, Failure> {
    let settings = settings(pipeline, tracked_fs)?.ok_or_else(|| {
        Error::input("no remote store is named").help(
            "add `[remote]` with `url = \"s3://bucket/prefix\"` or a folder to the pipeline file or to \
             emopipe/config.toml in your configuration folder",
        )
    })?;
    Ok(Remote::new(settings))
}

/// The actions that are meant: all where none is named.
///
/// # Errors
/// If a name is none of an action.
pub fn targets(plan: &Plan, names: &[String]) -> Result<HashSet<usize>> {
    let mut targets = HashSet::new();
    for name in names {
        targets.extend(plan.matching(name)?);
    }
    if names.is_empty() {
        targets.extend(0..plan.actions.len());
    }
    Ok(targets)
}

/// Where results stand, for the last line.
#[derive(Default)]
pub struct Tally {
    pub moved: usize,
    pub bytes: u64,
    pub there: usize,
    pub absent: usize,
    pub failed: usize,
}

impl Tally {
    /// Says what failed, and counts it.
    pub fn fail(&mut self, action: &str, error: &Error) {
        self.failed += 1;
        say(&format!("{action}: {}", hanging(&error.message)));
        if let Some(help) = &error.help {
            say(&format!("  help: {}", hanging(help)));
        }
    }

    /// The last line, with these words for the counts.
    ///
    /// # Errors
    /// If something failed.
    pub fn end(&self, bar: &Live<String>, moved: &str, there: &str, absent: &str) -> CommandResult {
        bar.close();
        let mut parts = vec![format!("{} results {moved}, {}", self.moved, bytes(self.bytes))];
        for (count, what) in [(self.there, there), (self.absent, absent), (self.failed, "failed")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        print(&format!("{}\n", parts.join("; ")));
        if self.failed > 0 { Err(Failure::Actions) } else { Ok(()) }
    }
}

/// Starts requests and collects their answers, each with the action that it is about.
pub struct Answers<'a, T> {
    pub remote: &'a Remote,
    pub bar: Live<String>,
    send: Sender<(usize, T)>,
    receive: Receiver<(usize, T)>,
    open: usize,
}

impl<'a, T: Send + 'static> Answers<'a, T> {
    /// No requests yet.
    pub fn new(remote: &'a Remote) -> Self {
        let (send, receive) = channel();
        Self { remote, bar: Live::new(String::new(), |line| vec![line.clone()]), send, receive, open: 0 }
    }

    /// The function that a request about action `i` is to be answered with.
    pub fn expect(&mut self, i: usize) -> impl FnOnce(T) + Send + use<T> {
        self.open += 1;
        let send = self.send.clone();
        move |answer| drop(send.send((i, answer)))
    }

    /// The next answer; `None` when there is none to wait for.
    pub fn next(&mut self) -> Option<(usize, T)> {
        while self.open > 0 {
            let (received, sent) = self.remote.traffic();
            *self.bar.state() = format!("{} results under way, {} moved", self.open, bytes(received + sent));
            match self.receive.recv_timeout(Duration::from_millis(200)) {
                Ok(answer) => {
                    self.open -= 1;
                    return Some(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}
