//! What a run looks like: bars on a terminal, plain lines elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    live::Live,
    progress_board::{Active, Board},
    run_ending::{ending, help, shared},
    scores::Scores,
    terminal::{self, hanging, say},
};
use crate::{
    base::{
        digest::Digest,
        units::{bytes, duration},
    },
    engine::{
        journal::{Entry, Event, Observer},
        reasons::Reason,
        scheduler::Summary,
    },
    store::Store,
};

/// Without a terminal, one line of progress per action at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Watches a run.
pub struct View {
    board: Live<Board>,
    /// Whether there are bars; plain lines say as much where there are none.
    live: bool,
    exported: Vec<(String, String, usize)>,
    /// When a line last told that results are being sent.
    pushing: Option<Instant>,
    scores: Scores,
}

impl View {
    /// A view that can say how good results are, if it has their store.
    pub fn new(store: Option<&Arc<Store>>) -> Self {
        Self {
            board: Live::new(Board::new(), Board::lines),
            live: terminal::is_live(),
            exported: Vec::new(),
            pushing: None,
            scores: store.map_or_else(Scores::default, Scores::of),
        }
    }

    /// How good the results are, a line each.
    pub fn scores(&self) -> Vec<String> {
        self.scores.lines()
    }

    /// The last words: what was done, how good it is, what failed and what to do, where the reports are.
    pub fn finish(&mut self, summary: &Summary, scores: &[String]) {
        self.board.close();
        for (name, error) in &summary.failed {
            say(&format!("\nfailed: {name}\n  {}", hanging(&error.message)));
            help(error, "  ");
        }
        if !summary.failed.is_empty() {
            say("");
        }
        scores.iter().for_each(|line| say(line));
        say(&ending(summary));
        shared(summary);
        for (action, folder, written) in &self.exported {
            let what = match written {
                0 => "up to date".to_owned(),
                1 => "1 file written".to_owned(),
                n => format!("{n} files written"),
            };
            say(&format!("{action}: {folder}/ ({what})"));
        }
    }

    fn active(&self, action: &str, change: impl FnOnce(&mut Active)) {
        if let Some(active) = self.board.state().active.iter_mut().find(|a| a.action == action) {
            change(active);
        }
    }

    fn progress(&self, action: &str, done: u64, total: u64, unit: &str, note: &str) {
        let mut line = None;
        self.active(action, |active| {
            active.progress(done, total, unit, note);
            if !self.live && active.said.elapsed() >= PLAIN_INTERVAL {
                active.said = Instant::now();
                line = Some(format!("  {action}: {}", active.text));
            }
        });
        line.iter().for_each(|line| say(line));
    }

    /// Takes an action off the board.
    fn end(&self, action: &str) -> Option<Active> {
        let mut board = self.board.state();
        let position = board.active.iter().position(|a| a.action == action)?;
        Some(board.active.remove(position))
    }

    fn count(&self, actions: u64) {
        self.board.state().done += actions;
    }

    fn started(&self, action: &str, threads: usize, reason: Option<&Reason>, attempt: u32) {
        self.board.state().active.push(Active::new(action));
        if !self.live {
            let why = reason.map_or_else(String::new, |r| format!(": {r}"));
            let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            let plural = if threads == 1 { "" } else { "s" };
            say(&format!("start  {action} ({threads} thread{plural}{again}){}", hanging(&why)));
        }
    }

    /// So many results are being sent, and so many bytes of them are.
    fn pushing(&mut self, results: usize, sent: u64) {
        let what = format!("sending {results} results to the remote, {} so far", bytes(sent));
        if !self.live && self.pushing.is_none_or(|t| t.elapsed() >= PLAIN_INTERVAL) {
            self.pushing = Some(Instant::now());
            say(&what);
        }
        self.board.state().what = what;
    }

    fn finished(&mut self, action: &str, key: &Digest, size: u64) {
        let ended = self.end(action);
        self.count(1);
        let took = ended.as_ref().map_or(0.0, |active| active.began.elapsed().as_secs_f64());
        let memory = ended.map_or_else(String::new, |active| active.memory());
        let score = self.scores.note(action, key).and_then(|()| self.scores.last());
        let score = score.map_or_else(String::new, |score| format!("  {score}"));
        say(&format!("done   {action}  {}  {}{memory}{score}", duration(took), bytes(size)));
    }
}

/// What went from a folder of exports, and what stays there.
fn removed(folder: &str, files: &[String], left: &[String]) {
    if !files.is_empty() {
        say(&format!("removed from {folder}/, as nothing makes it any more: {}", files.join(", ")));
    }
    if !left.is_empty() {
        say(&format!("left in {folder}/: nothing makes it any more, but it was edited: {}", left.join(", ")));
    }
}

impl Observer for View {
    fn observe(&mut self, entry: &Entry) {
        match &entry.event {
            Event::RunStarted { actions, profile, pipeline, .. } => {
                let mut board = self.board.state();
                board.total = *actions as u64;
                board.what = profile.as_ref().map_or_else(|| pipeline.clone(), |p| format!("{pipeline} ({p})"));
            }
            Event::Reused { action, key, .. } => {
                self.count(1);
                let _ = self.scores.note(action, key);
            }
            Event::Unchanged { results, .. } => self.count(*results as u64),
            Event::Pulled { action, bytes: size, .. } => say(&format!("pulled {action}  {}", bytes(*size))),
            Event::RemoteFailed { action, error } => {
                say(&format!("remote {action}: {}", hanging(&error.message)));
                help(error, "       ");
            }
            Event::Pushing { results, sent } => self.pushing(*results, *sent),
            Event::Started { action, threads, reasons, attempt, .. } => {
                self.started(action, *threads, reasons.first(), *attempt);
            }
            Event::Progress { action, done, total, unit, note } => self.progress(action, *done, *total, unit, note),
            Event::Waiting { action } => say(&format!("wait   {action}: another run computes it")),
            Event::Message { action, text } => say(&format!("       {action}: {}", hanging(text))),
            Event::Finished { action, key, bytes: size, .. } => self.finished(action, key, *size),
            Event::Retrying { action, error, in_seconds } => {
                self.end(action);
                say(&format!("retry  {action} in {in_seconds:.0} s: {}", hanging(&error.message)));
            }
            Event::Failed { action, error, log } => {
                self.end(action);
                self.count(1);
                say(&format!("FAILED {action}: {}", hanging(&error.message)));
                if let Some(log) = log {
                    say(&format!("       its output: {log}"));
                }
            }
            Event::Skipped { action, because } => {
                self.count(1);
                say(&format!("skip   {action}: {because} failed"));
            }
            Event::Removed { folder, files, left } => removed(folder, files, left),
            Event::Exported { action, folder, written } => {
                self.exported.push((action.clone(), folder.clone(), *written))
            }
            Event::Measured { action, name, value } => {
                self.active(action, |active| {
                    active.measured.insert(name.clone(), *value);
                });
            }
            Event::Pushed { .. } | Event::RunFinished { .. } => {}
        }
    }
}
