//! What a run looks like: bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::{
    journal::{Entry, Event, Observer},
    schedule::Summary,
};

/// Without a terminal, one line of progress per action at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// Results that the remote lacks in the last words; the journal has all.
const UNPUSHED_SHOWN: usize = 10;

struct Active {
    bar: ProgressBar,
    began: Instant,
    /// Steps done when the first progress came, and when: a resumed action doesn't start at 0.
    first: Option<(u64, Instant)>,
    said: Instant,
    /// What the action measured.
    measured: HashMap<String, f64>,
}

impl Active {
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
    bars: MultiProgress,
    overall: ProgressBar,
    terminal: bool,
    active: HashMap<String, Active>,
    exported: Vec<(String, String, usize)>,
    /// When a line last told that results are being sent.
    pushing: Option<Instant>,
}

impl View {
    pub fn new(terminal: bool) -> Self {
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let overall = bars.add(ProgressBar::new(0));
        overall.set_style(style("{elapsed_precise} [{bar:32}] {pos}/{len} actions  {msg}"));
        Self { bars, overall, terminal, active: HashMap::new(), exported: Vec::new(), pushing: None }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            // Where the terminal is gone there is nobody to tell.
            let _ = self.bars.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// The last words: what was done, what failed and what to do, where the reports are.
    pub fn finish(&mut self, summary: &Summary) {
        self.overall.finish_and_clear();
        for (name, error) in &summary.failed {
            eprintln!("\nfailed: {name}\n  {}", error.message);
            if let Some(help) = &error.help {
                eprintln!("  help: {help}");
            }
        }
        if !summary.failed.is_empty() {
            eprintln!();
        }
        let time = duration(summary.elapsed.as_secs_f64());
        if summary.ran == 0 && summary.failed.is_empty() && summary.skipped == 0 && !summary.interrupted {
            match summary.remote.pulled {
                (0, _) => eprintln!("nothing to do: all {} results are in the store ({time})", summary.reused),
                (n, size) => eprintln!(
                    "nothing to compute: all {} results are in the store, {n} of them from the remote, {} ({time})",
                    summary.reused,
                    bytes(size)
                ),
            }
        } else {
            let mut parts = vec![format!("{} ran", summary.ran), format!("{} reused", summary.reused)];
            if !summary.failed.is_empty() {
                parts.push(format!("{} failed", summary.failed.len()));
            }
            if summary.skipped > 0 {
                parts.push(format!("{} not run", summary.skipped));
            }
            let end = if summary.interrupted { "interrupted; the next run goes on from here: " } else { "" };
            eprintln!("{end}{} in {time}", parts.join(", "));
            let (pulled, size) = summary.remote.pulled;
            if pulled > 0 {
                eprintln!("{pulled} of the reused results came from the remote, {}", bytes(size));
            }
        }
        let (pushed, size) = summary.remote.pushed;
        if pushed > 0 {
            eprintln!("{pushed} results sent to the remote, {}", bytes(size));
        }
        let unpushed = &summary.remote.unpushed;
        if !unpushed.is_empty() {
            eprintln!(
                "{} results weren't sent to the remote; the next run, or `emopipe push`, tries again:",
                unpushed.len()
            );
            for (name, error) in unpushed.iter().take(UNPUSHED_SHOWN) {
                eprintln!("  {name}: {}", error.message);
            }
            if let Some(more) = unpushed.len().checked_sub(UNPUSHED_SHOWN).filter(|n| *n > 0) {
                eprintln!("  and {more} more");
            }
        }
        for (action, folder, written) in &self.exported {
            let what = match written {
                0 => "up to date".to_owned(),
                1 => "1 file written".to_owned(),
                n => format!("{n} files written"),
            };
            eprintln!("{action}: {folder}/ ({what})");
        }
    }

    fn progress(&mut self, action: &str, done: u64, total: u64, unit: &str, note: &str) {
        let Some(active) = self.active.get_mut(action) else { return };
        let (from, since) = *active.first.get_or_insert((done, Instant::now()));
        let rate = (done - from.min(done)) as f64 / since.elapsed().as_secs_f64().max(1e-3);
        let left = if rate > 0.0 { duration((total.saturating_sub(done)) as f64 / rate) } else { "?".to_owned() };
        let (count, rate) = if unit == "byte" {
            (format!("{}/{}", bytes(done), bytes(total)), format!("{}/s", bytes(rate as u64)))
        } else {
            (format!("{unit} {done}/{total}"), format!("{rate:.2}/s"))
        };
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        // A narrow terminal cuts the line: what matters most comes first.
        let text = format!("{count}  {left} left{note}  {rate}");
        active.bar.set_length(total);
        active.bar.set_position(done);
        active.bar.set_message(text.clone());
        let say = !self.terminal && active.said.elapsed() >= PLAIN_INTERVAL;
        if say {
            active.said = Instant::now();
            self.line(&format!("  {action}: {text}"));
        }
    }

    fn end(&mut self, action: &str) -> Option<Active> {
        let active = self.active.remove(action)?;
        active.bar.finish_and_clear();
        self.bars.remove(&active.bar);
        self.overall.inc(1);
        Some(active)
    }
}

impl Observer for View {
    fn observe(&mut self, entry: &Entry) {
        match &entry.event {
            Event::RunStarted { actions, profile, pipeline, .. } => {
                self.overall.set_length(*actions as u64);
                self.overall
                    .set_message(profile.as_ref().map_or_else(|| pipeline.clone(), |p| format!("{pipeline} ({p})")));
            }
            Event::Reused { .. } => self.overall.inc(1),
            Event::Unchanged { results, .. } => self.overall.inc(*results as u64),
            Event::Pulled { action, bytes: size, .. } => self.line(&format!("pulled {action}  {}", bytes(*size))),
            Event::RemoteFailed { action, error } => {
                self.line(&format!("remote {action}: {}", error.message));
                if let Some(help) = &error.help {
                    self.line(&format!("       help: {help}"));
                }
            }
            Event::Pushing { results, sent } => {
                self.overall.set_message(format!("sending {results} results to the remote, {} so far", bytes(*sent)));
                if !self.terminal && self.pushing.is_none_or(|t| t.elapsed() >= PLAIN_INTERVAL) {
                    self.pushing = Some(Instant::now());
                    self.line(&format!("sending {results} results to the remote, {} so far", bytes(*sent)));
                }
            }
            Event::Started { action, threads, reasons, attempt, .. } => {
                let bar = self.bars.add(ProgressBar::new(0));
                bar.set_style(style("  {prefix} [{bar:8}] {wide_msg}"));
                bar.set_prefix(short(action));
                let now = Instant::now();
                let active = Active { bar, began: now, first: None, said: now, measured: HashMap::new() };
                self.active.insert(action.clone(), active);
                if !self.terminal {
                    let why = reasons.first().map_or_else(String::new, |r| format!(": {r}"));
                    let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                    let plural = if *threads == 1 { "" } else { "s" };
                    self.line(&format!("start  {action} ({threads} thread{plural}{again}){why}"));
                }
            }
            Event::Progress { action, done, total, unit, note } => self.progress(action, *done, *total, unit, note),
            Event::Waiting { action } => self.line(&format!("wait   {action}: another run computes it")),
            Event::Message { action, text } => self.line(&format!("       {action}: {text}")),
            Event::Finished { action, bytes: size, .. } => {
                let ended = self.end(action);
                let took = ended.as_ref().map_or(0.0, |active| active.began.elapsed().as_secs_f64());
                let memory = ended.map_or_else(String::new, |active| active.memory());
                self.line(&format!("done   {action}  {}  {}{memory}", duration(took), bytes(*size)));
            }
            Event::Retrying { action, error, in_seconds } => {
                self.end(action);
                self.overall.dec(1);
                self.line(&format!("retry  {action} in {in_seconds:.0} s: {}", error.message));
            }
            Event::Failed { action, error, log } => {
                if self.end(action).is_none() {
                    self.overall.inc(1);
                }
                self.line(&format!("FAILED {action}: {}", error.message));
                if let Some(log) = log {
                    self.line(&format!("       its output: {log}"));
                }
            }
            Event::Skipped { action, because } => {
                self.overall.inc(1);
                self.line(&format!("skip   {action}: {because} failed"));
            }
            Event::Removed { folder, files, left } => {
                if !files.is_empty() {
                    self.line(&format!("removed from {folder}/, as nothing makes it any more: {}", files.join(", ")));
                }
                if !left.is_empty() {
                    self.line(&format!(
                        "left in {folder}/: nothing makes it any more, but it was edited: {}",
                        left.join(", ")
                    ));
                }
            }
            Event::Exported { action, folder, written } => {
                self.exported.push((action.clone(), folder.clone(), *written))
            }
            Event::Measured { action, name, value } => {
                if let Some(active) = self.active.get_mut(action) {
                    active.measured.insert(name.clone(), *value);
                }
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
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

/// `512 B`, `3.4 MiB`.
pub fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}
