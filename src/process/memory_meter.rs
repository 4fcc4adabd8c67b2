//! How much memory all that descends from this process has held together, and whether there was enough.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};

use super::{
    descendants::{Relative, relatives},
    oom::OomKills,
};

/// The least time between two looks.
const INTERVAL: Duration = Duration::from_millis(50);
/// A look may take this part of the time: many processes are looked at less often.
const SHARE: u32 = 20;

/// Looks from time to time.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes.
    peak: u64,
    next: Option<Instant>,
    ooms: OomKills,
    /// This process's command line.
    own: Option<Vec<u8>>,
}

impl Meter {
    pub fn new() -> Self {
        Self { peak: 0, next: None, ooms: OomKills::now(), own: fs::read("/proc/self/cmdline").ok() }
    }

    /// Whether the kernel has ended processes for want of memory since, where these are.
    pub fn ran_short(&self) -> bool {
        self.ooms.rose()
    }

    /// Looks, if it is time to.
    pub fn look(&mut self) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        let mut relatives = relatives();
        // A process that doesn't run its own program yet is a copy of this one.
        relatives.retain(|r| fs::read(path(r, "cmdline")).ok() != self.own);
        let held: Vec<(u64, u64)> = relatives.iter().filter_map(held).collect();
        let resident: u64 = held.iter().map(|(now, _)| now).sum();
        if resident > self.peak {
            // Where several share pages, such as the children that a Python program forks, each page counts once.
            let proportional = if held.len() > 1 { relatives.iter().filter_map(proportional).sum() } else { resident };
            self.peak = self.peak.max(if proportional > 0 { proportional } else { resident });
        }
        // The kernel remembers what one process held between two looks.
        self.peak = self.peak.max(held.iter().map(|(_, most)| *most).max().unwrap_or(0));
        relatives.iter().for_each(|r| self.ooms.see(&r.pid.as_raw_nonzero().to_string()));
        self.next = Some(now + INTERVAL.max(now.elapsed() * SHARE));
    }

    /// Bytes at the worst moment, as far as anybody saw; those of the largest process are exact once all have ended.
    pub fn peak(&self) -> u64 {
        // The kernel counts that copy, too.
        let own = fs::read_to_string("/proc/self/status").ok().and_then(|text| field(&text, "VmHWM:")).unwrap_or(0);
        let largest = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss().max(0) as u64 * UNIT);
        if largest > own || self.peak == 0 { self.peak.max(largest) } else { self.peak }
    }
}

/// What the system counts the largest process's memory in.
#[cfg(target_os = "macos")]
const UNIT: u64 = 1;
#[cfg(not(target_os = "macos"))]
const UNIT: u64 = 1 << 10;

/// Bytes that a process holds now, and the most that it held so far.
fn held(relative: &Relative) -> Option<(u64, u64)> {
    let status = read(relative, "status")?;
    let now = field(&status, "VmRSS:")?;
    Some((now, field(&status, "VmHWM:").unwrap_or(now)))
}

/// Bytes, where each page that n processes share counts as an n-th.
fn proportional(relative: &Relative) -> Option<u64> {
    field(&read(relative, "smaps_rollup")?, "Pss:")
}

fn read(relative: &Relative, file: &str) -> Option<String> {
    fs::read_to_string(path(relative, file)).ok()
}

fn path(relative: &Relative, file: &str) -> String {
    format!("/proc/{}/{file}", relative.pid.as_raw_nonzero())
}

/// Bytes of a line such as `VmHWM:     1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}
