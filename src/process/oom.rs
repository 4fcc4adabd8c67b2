//! Whether the kernel has ended processes for want of memory. A process that it ended looks like one that anybody killed, so
//! the kernel's own counts are asked.

use std::fs;

use crate::base::cgroup;

/// The kernel's counts at an instant.
#[derive(Debug, Clone)]
pub struct OomKills {
    counts: Counts,
    membership: String,
    elsewhere: bool,
}

/// Processes ended for want of memory; None where the kernel doesn't tell.
#[derive(Debug, Clone, Copy)]
struct Counts {
    group: Option<u64>,
    system: Option<u64>,
}

impl OomKills {
    pub fn now() -> Self {
        Self { counts: Counts::now(), membership: cgroup::membership("self"), elsewhere: false }
    }

    /// Notes the control groups that a process of interest is in.
    pub(super) fn see(&mut self, process: &str) {
        let membership = cgroup::membership(process);
        self.elsewhere |= !membership.is_empty() && membership != self.membership;
    }

    /// Whether memory has run out since, where the processes of interest are.
    pub fn rose(&self) -> bool {
        self.counts.rose(&Counts::now(), self.elsewhere)
    }
}

impl Counts {
    fn now() -> Self {
        let system = fs::read_to_string("/proc/vmstat").ok().and_then(|text| cgroup::field(&text, "oom_kill"));
        Self { group: cgroup::oom_kills(), system }
    }

    /// A group counts each of its processes that is ended, whoever ran out of memory. So where there is a group, the count of
    /// the whole system, which is also that of strangers, is no evidence, but for processes that left the group.
    fn rose(&self, later: &Self, elsewhere: bool) -> bool {
        let rose = |before: Option<u64>, after: Option<u64>| before.zip(after).map(|(b, a)| a > b);
        let (group, system) = (rose(self.group, later.group), rose(self.system, later.system).unwrap_or(false));
        if elsewhere { group == Some(true) || system } else { group.unwrap_or(system) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_count_that_rose_is_evidence() {
        let counts = |group, system| Counts { group, system };
        let before = counts(Some(2), Some(5));
        for (later, elsewhere, expected) in [
            (before, false, false),
            (counts(Some(3), Some(6)), false, true),
            (counts(Some(2), Some(6)), false, false),
            (counts(Some(2), Some(6)), true, true),
            (counts(None, Some(6)), false, true),
            (counts(None, None), true, false),
        ] {
            assert_eq!(before.rose(&later, elsewhere), expected, "{later:?} {elsewhere}");
        }
    }
}
