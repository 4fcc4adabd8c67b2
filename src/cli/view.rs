//! What a run looks like: bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    live::{Live, bar},
    scores::Scores,
    terminal::{self, hanging, say},
};
pub use crate::base::units::bytes;
use crate::{
    base::error::Error,
    engine::{
        journal::{Entry, Event, Observer},
        scheduler::Summary,
    },
    store::Store,
};

/// Without a terminal, one line of progress per action at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Results that the remote lacks in the last words; the journal has all.
const UNPUSHED_SHOWN: usize = 10;

/// What stands at the bottom of the terminal.
struct Board {
    began: Instant,
    done: u64,
    total: u64,
    /// The pipeline, or what is done after all actions.
    what: String,
    active: Vec<Active>,
}

impl Board {
    fn lines(&self) -> Vec<String> {
        let seconds = self.began.elapsed().as_secs();
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let overall = bar(self.done, self.total, 32);
        let mut lines = vec![format!("{clock} {overall} {}/{} actions  {}", self.done, self.total, self.what)];
        lines.extend(self.active.iter().map(Active::line));
        lines
    }
}

/// An action that is running.
struct Active {
    action: String,
    began: Instant,
    done: u64,
    total: u64,
    /// How far it is; empty before the first progress.
    text: String,
    /// Steps done when the first progress came, and when: a resumed action doesn't start at 0.
    first: Option<(u64, Instant)>,
    said: Instant,
    /// What the action measured.
    measured: HashMap<String, f64>,
}

impl Active {
    fn new(action: &str) -> Self {
        let now = Instant::now();
        Self {
            action: action.to_owned(),
            began: now,
            done: 0,
            total: 0,
            text: String::new(),
            first: None,
            said: now,
            measured: HashMap::new(),
        }
    }

    fn line(&self) -> String {
        let so_far = match self.text.as_str() {
            "" => format!("{} s", self.began.elapsed().as_secs()),
            text => text.to_owned(),
        };
        format!("  {} {} {so_far}", short(&self.action), bar(self.done, self.total, 8))
    }

    fn progress(&mut self, done: u64, total: u64, unit: &str, note: &str) {
        let (from, since) = *self.first.get_or_insert((done, Instant::now()));
        let rate = (done - from.min(done)) as f64 / since.elapsed().as_secs_f64().max(1e-3);
        let left = if rate > 0.0 { duration((total.saturating_sub(done)) as f64 / rate) } else { "?".to_owned() };
        let (count, rate) = if unit == "byte" {
            (format!("{}/{}", bytes(done), bytes(total)), format!("{}/s", bytes(rate as u64)))
        } else {
            (format!("{unit} {done}/{total}"), format!("{rate:.2}/s"))
        };
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        // A narrow terminal cuts the line: what matters most comes first.
        self.text = format!("{count}  {left} left{note}  {rate}");
        (self.done, self.total) = (done, total);
    }

    /// Its memory at the worst moment beside what was planned, where both are known.
    fn memory(&self) -> String {
        let of = |name: &str| self.measured.get(name).map(|n| bytes(*n as u64));
        // On a GPU, the plan is about the GPU's memory.
        let peak = of("peak_device_memory_bytes").or_else(|| of("peak_memory_bytes"));
        let both = peak.zip(of("planned_memory_bytes"));
        both.map_or_else(String::new, |(peak, planned)| format!("  {peak} of memory ({planned} planned)"))
    }
}

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
        let board = Board { began: Instant::now(), done: 0, total: 0, what: String::new(), active: Vec::new() };
        Self {
            board: Live::new(board, Board::lines),
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
        say(&outcome(summary));
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

    fn finished(&mut self, action: &str, key: &crate::base::digest::Digest, size: u64) {
        let ended = self.end(action);
        self.count(1);
        let took = ended.as_ref().map_or(0.0, |active| active.began.elapsed().as_secs_f64());
        let memory = ended.map_or_else(String::new, |active| active.memory());
        let score = self.scores.note(action, key).and_then(|()| self.scores.last());
        let score = score.map_or_else(String::new, |score| format!("  {score}"));
        say(&format!("done   {action}  {}  {}{memory}{score}", duration(took), bytes(size)));
    }
}

/// What there is to do about an error, below it.
fn help(error: &Error, indent: &str) {
    if let Some(help) = &error.help {
        say(&format!("{indent}help: {}", hanging(help)));
    }
}

/// How a run ended, in a line.
fn outcome(summary: &Summary) -> String {
    let time = duration(summary.elapsed.as_secs_f64());
    let (pulled, size) = summary.remote.pulled;
    if summary.ran == 0 && summary.failed.is_empty() && summary.skipped == 0 && !summary.interrupted {
        return match pulled {
            0 => format!("nothing to do: all {} results are in the store ({time})", summary.reused),
            n => format!(
                "nothing to compute: all {} results are in the store, {n} of them from the remote, {} ({time})",
                summary.reused,
                bytes(size)
            ),
        };
    }
    let mut parts = vec![format!("{} ran", summary.ran), format!("{} reused", summary.reused)];
    if !summary.failed.is_empty() {
        parts.push(format!("{} failed", summary.failed.len()));
    }
    if summary.skipped > 0 {
        parts.push(format!("{} not run", summary.skipped));
    }
    let end = if summary.interrupted { "interrupted; the next run goes on from here: " } else { "" };
    let pulled = match pulled {
        0 => String::new(),
        n => format!("\n{n} of the reused results came from the remote, {}", bytes(size)),
    };
    format!("{end}{} in {time}{pulled}", parts.join(", "))
}

/// What was sent to the remote, and what wasn't.
fn shared(summary: &Summary) {
    let (pushed, size) = summary.remote.pushed;
    if pushed > 0 {
        say(&format!("{pushed} results sent to the remote, {}", bytes(size)));
    }
    let unpushed = &summary.remote.unpushed;
    if unpushed.is_empty() {
        return;
    }
    say(&format!(
        "{} results weren't sent to the remote; the next run, or `emopipe push`, tries again:",
        unpushed.len()
    ));
    for (name, error) in unpushed.iter().take(UNPUSHED_SHOWN) {
        say(&format!("  {name}: {}", hanging(&error.message)));
    }
    if let Some(more) = unpushed.len().checked_sub(UNPUSHED_SHOWN).filter(|n| *n > 0) {
        say(&format!("  and {more} more"));
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
            Event::Pushing { results, sent } => {
                let what = format!("sending {results} results to the remote, {} so far", bytes(*sent));
                if !self.live && self.pushing.is_none_or(|t| t.elapsed() >= PLAIN_INTERVAL) {
                    self.pushing = Some(Instant::now());
                    say(&what);
                }
                self.board.state().what = what;
            }
            Event::Started { action, threads, reasons, attempt, .. } => {
                self.board.state().active.push(Active::new(action));
                if !self.live {
                    let why = reasons.first().map_or_else(String::new, |r| format!(": {r}"));
                    let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                    let plural = if *threads == 1 { "" } else { "s" };
                    say(&format!("start  {action} ({threads} thread{plural}{again}){}", hanging(&why)));
                }
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
            Event::Removed { folder, files, left } => {
                if !files.is_empty() {
                    say(&format!("removed from {folder}/, as nothing makes it any more: {}", files.join(", ")));
                }
                if !left.is_empty() {
                    say(&format!(
                        "left in {folder}/: nothing makes it any more, but it was edited: {}",
                        left.join(", ")
                    ));
                }
            }
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

/// `train[movies-2,lora,0]` for `train[task=movies-2,method=lora,seed=0]`: the names of axes are clear from their values.
fn short(action: &str) -> String {
    let Some((stage, axes)) = action.split_once('[') else { return action.to_owned() };
    let values: Vec<&str> = axes.split(',').map(|axis| axis.split_once('=').map_or(axis, |(_, value)| value)).collect();
    format!("{stage}[{}", values.join(","))
}

/// `0.04 s`, `12 s`, `3m05s`, `2h10m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.2} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}
