//! What stands at the bottom of the terminal while actions run.

use std::{collections::HashMap, time::Instant};

use super::live::bar;
use crate::base::units::{bytes, duration};

/// What stands at the bottom of the terminal.
pub struct Board {
    pub began: Instant,
    pub done: u64,
    pub total: u64,
    /// The pipeline, or what is done after all actions.
    pub what: String,
    pub active: Vec<Active>,
}

impl Board {
    /// Nothing has begun.
    pub fn new() -> Self {
        Self { began: Instant::now(), done: 0, total: 0, what: String::new(), active: Vec::new() }
    }

    /// The lines of the board, as they are now.
    pub fn lines(&self) -> Vec<String> {
        let seconds = self.began.elapsed().as_secs();
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let overall = bar(self.done, self.total, 32);
        let mut lines = vec![format!("{clock} {overall} {}/{} actions  {}", self.done, self.total, self.what)];
        lines.extend(self.active.iter().map(Active::line));
        lines
    }
}

/// An action that is running.
pub struct Active {
    pub action: String,
    pub began: Instant,
    pub done: u64,
    pub total: u64,
    /// How far it is; empty before the first progress.
    pub text: String,
    /// Steps done when the first progress came, and when: a resumed action doesn't start at 0.
    first: Option<(u64, Instant)>,
    pub said: Instant,
    /// What the action measured.
    pub measured: HashMap<String, f64>,
}

impl Active {
    /// An action that starts now.
    pub fn new(action: &str) -> Self {
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

    /// Takes note of `done` of `total` units.
    pub fn progress(&mut self, done: u64, total: u64, unit: &str, note: &str) {
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
    pub fn memory(&self) -> String {
        let of = |name: &str| self.measured.get(name).map(|n| bytes(*n as u64));
        // On a GPU, the plan is about the GPU's memory.
        let peak = of("peak_device_memory_bytes").or_else(|| of("peak_memory_bytes"));
        let both = peak.zip(of("planned_memory_bytes"));
        both.map_or_else(String::new, |(peak, planned)| format!("  {peak} of memory ({planned} planned)"))
    }
}

/// `train[movies-2,lora,0]` for `train[task=movies-2,method=lora,seed=0]`: the names of axes are clear from their values.
fn short(action: &str) -> String {
    let Some((stage, axes)) = action.split_once('[') else { return action.to_owned() };
    let values: Vec<&str> = axes.split(',').map(|axis| axis.split_once('=').map_or(axis, |(_, value)| value)).collect();
    format!("{stage}[{}", values.join(","))
}
