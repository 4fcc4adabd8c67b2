//! What the control groups of this process say of memory, in both versions of the interface.

use std::{
    fs,
    path::{Path, PathBuf},
};

const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";
/// The old interface says that there is no limit with a number that no machine has.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes that the processes of this one's control group may hold together; None where there is no limit.
pub fn memory_limit() -> Option<u64> {
    let unified =
        groups(&membership("self"), UNIFIED, "").into_iter().filter_map(|group| number(&group.join("memory.max")));
    // The old interface sums up the limits of all groups above.
    let old = read_in_group(MEMORY, "memory", "memory.stat").and_then(|text| field(&text, "hierarchical_memory_limit"));
    unified.chain(old).filter(|bytes| *bytes < NO_LIMIT).min()
}

/// How many processes of this one's control group were ended for want of memory since the group was made.
pub fn oom_kills() -> Option<u64> {
    let read = |base, controller, file| field(&read_in_group(base, controller, file)?, "oom_kill");
    read(UNIFIED, "", "memory.events").or_else(|| read(MEMORY, "memory", "memory.oom_control"))
}

/// The control groups of a process: `/proc/PROCESS/cgroup`.
pub fn membership(process: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(process).join("cgroup")).unwrap_or_default()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A file of the innermost group that has it: in a container, the groups outside of it aren't there.
fn read_in_group(base: &str, controller: &str, file: &str) -> Option<String> {
    groups(&membership("self"), base, controller).iter().find_map(|group| fs::read_to_string(group.join(file)).ok())
}

/// The folders of this process's group and of those around it, the innermost first. `membership` is `/proc/self/cgroup`,
/// with lines such as `4:memory:/a/b`, and `0::/a/b` for the new interface.
fn groups(membership: &str, base: &str, controller: &str) -> Vec<PathBuf> {
    let path = membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    let inner = Path::new(path.unwrap_or("/")).strip_prefix("/").unwrap_or(Path::new("")).to_owned();
    inner.ancestors().map(|below| Path::new(base).join(below)).collect()
}

/// The number beside `name` in lines such as `oom_kill 3`.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_in_both_interfaces() {
        let both = "5:memory:/a/b\n4:cpu,cpuacct:/c\n0::/x\n";
        let shown = |base, controller| {
            groups(both, base, controller).iter().map(|g| g.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(shown("/m", "memory"), ["/m/a/b", "/m/a", "/m/"]);
        assert_eq!(shown("/u", ""), ["/u/x", "/u/"]);
        assert_eq!(shown("/p", "pids"), ["/p/"]);
    }

    #[test]
    fn fields_are_told_from_longer_names() {
        let text = "oom 1\noom_kill 3\noom_kill_disable 7\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "oom_group_kill"), None);
    }
}
