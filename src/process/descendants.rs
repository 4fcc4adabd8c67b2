//! All that descends from this process. Where this process is a subreaper, nothing that it started can leave: whatever loses
//! its parent becomes its child, also what made a session of its own.
//!
//! Where the system has no such thing (no `/proc`, no subreapers), only the process group of the command is known.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, wait};

/// How often to look whether processes have ended.
const POLL: Duration = Duration::from_millis(5);

/// A process below this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relative {
    pub pid: Pid,
    pub group: Option<Pid>,
    /// Of its program, cut short by the kernel.
    pub name: String,
}

/// Makes this process the parent of every descendant that loses its own.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // Kernels from 3.4 on can; where one can't, the command's process group is still ended.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// Everything below this process that hasn't ended.
pub(super) fn relatives() -> Vec<Relative> {
    let mut children: HashMap<Pid, Vec<Relative>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
            .and_then(Pid::from_raw)
            .and_then(|pid| parse_stat(pid, &fs::read_to_string(entry.path().join("stat")).ok()?));
        if let Some((parent, relative)) = stat {
            children.entry(parent).or_default().push(relative);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![getpid()];
    while let Some(parent) = open.pop() {
        let below = children.remove(&parent).unwrap_or_default();
        open.extend(below.iter().map(|r| r.pid));
        found.extend(below);
    }
    found
}

/// Parent and process of a line such as `12 (a name) S 1 12 ...`; None for what has ended and only waits to be noticed, but
/// for its children, which then have another parent.
fn parse_stat(pid: Pid, stat: &str) -> Option<(Pid, Relative)> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(start + 1..end)?.to_owned();
    let mut fields = stat.get(end + 1..)?.split_whitespace();
    let state = fields.next()?;
    let parent = Pid::from_raw(fields.next()?.parse().ok()?)?;
    let group = fields.next()?.parse().ok().and_then(Pid::from_raw);
    (!matches!(state, "Z" | "X")).then_some((parent, Relative { pid, group, name }))
}

/// Notes the ends of children. Whether there are any left.
pub(super) fn reap(mut ended: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Sends a signal to everything below this process; where nobody can tell what that is, to `group`.
pub(super) fn signal(signal: Signal, group: Option<Pid>) {
    let relatives = relatives();
    let own = rustix::process::getpgrp();
    let mut groups: Vec<Pid> = group.filter(|_| relatives.is_empty()).into_iter().collect();
    if signal == Signal::KILL {
        // A group gets it in one instant, so that nobody in it can start a process meanwhile that would be missed.
        groups.extend(relatives.iter().filter_map(|r| r.group).filter(|g| *g != own));
        groups.sort_unstable_by_key(|g| g.as_raw_nonzero());
        groups.dedup();
    }
    // What has just ended can't be signalled, and needn't be.
    for group in groups {
        let _ = kill_process_group(group, signal);
    }
    for relative in relatives {
        let _ = kill_process(relative.pid, signal);
    }
}

/// Ends everything below this process. Returns what couldn't be ended in time.
pub(super) fn end(group: Option<Pid>, time: Duration, mut ended: impl FnMut(Pid, WaitStatus)) -> Vec<String> {
    let start = Instant::now();
    if let Some(group) = group.filter(|_| !cfg!(target_os = "linux")) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    while reap(&mut ended) {
        if start.elapsed() > time {
            return names(&relatives());
        }
        signal(Signal::KILL, group);
        std::thread::sleep(POLL);
    }
    Vec::new()
}

/// `name (pid)` of each.
pub(super) fn names(relatives: &[Relative]) -> Vec<String> {
    relatives.iter().map(|r| format!("{} ({})", r.name, r.pid.as_raw_nonzero())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let pid = Pid::from_raw(12).unwrap();
        let (parent, relative) = parse_stat(pid, "12 (a) S (b) S 7 9 9 0\n").unwrap();
        assert_eq!((parent.as_raw_nonzero().get(), relative.name.as_str()), (7, "a) S (b"));
        assert_eq!(relative.group, Pid::from_raw(9));
        assert_eq!(parse_stat(pid, "12 (gone) Z 7 9"), None);
        assert_eq!(parse_stat(pid, "12 (cut"), None);
    }
}
