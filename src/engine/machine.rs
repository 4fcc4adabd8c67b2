//! What this machine has.

use std::fs;

use super::Resources;

/// Cores, memory and GPUs of this machine.
pub fn resources() -> Resources {
    Resources {
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory: memory().unwrap_or(4 << 30),
        gpus: gpus(),
    }
}

/// Bytes that processes may use: the machine's memory, or the control group's limit where that is lower.
fn memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let total = info.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let total = total.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    Some(limit.map_or(total, |l: u64| l.min(total)))
}

/// NVIDIA devices that the driver shows.
fn gpus() -> u32 {
    let Ok(entries) = fs::read_dir("/dev") else { return 0 };
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| is_gpu(n)).count() as u32
}
