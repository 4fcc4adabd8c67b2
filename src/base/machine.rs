//! What this machine has.

use std::{fs, process::Command};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroup::memory_limit;

/// What an action occupies while it runs, and what a machine has of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Threads.
    pub cores: u32,
    /// Bytes.
    pub memory: u64,
    /// Whole devices.
    pub gpus: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cores: 1, memory: 64 << 20, gpus: 0 }
    }
}

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
    Some(memory_limit().map_or(total, |limit| limit.min(total)))
}

/// NVIDIA devices that the driver shows and that this process may use.
fn gpus() -> u32 {
    let count = gpus_of_driver();
    visible_gpus().filter(|_| count > 0).map_or(count, |ids| ids.len()) as u32
}

fn gpus_of_driver() -> usize {
    let Ok(entries) = fs::read_dir("/dev") else { return 0 };
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| is_gpu(n)).count()
}

/// Names the GPUs that CUDA shows to a process.
pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Numbers or UUIDs of the GPUs that this process may use, as a cluster's scheduler hands them out; None where it may use all.
pub fn visible_gpus() -> Option<Vec<String>> {
    Some(ids(&std::env::var(VISIBLE).ok()?))
}

/// As CUDA reads the list: it ends at the first -1.
fn ids(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).take_while(|id| !id.is_empty() && *id != "-1").map(str::to_owned).collect()
}

/// The list for a process that gets the GPUs at these `places` among ours.
pub fn share(places: &[u32], ours: Option<&[String]>) -> String {
    let id = |place: &u32| match ours {
        Some(ids) => ids.get(*place as usize).cloned(),
        None => Some(place.to_string()),
    };
    places.iter().filter_map(id).collect::<Vec<_>>().join(",")
}

/// Where numbers are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl Device {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }

    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }
}

/// A CUDA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// Bytes; None where the driver's tool doesn't tell.
    pub memory: Option<u64>,
}

/// The CUDA devices that this process may use. Asks the driver's files and its command line tool, so that no CUDA library is
/// needed.
pub fn cuda_devices() -> Vec<Gpu> {
    let count = gpus_of_driver();
    if count == 0 {
        return Vec::new();
    }
    let asked =
        Command::new("nvidia-smi").args(["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]).output();
    let listed = asked.ok().filter(|o| o.status.success()).map(|o| read_list(&String::from_utf8_lossy(&o.stdout)));
    let all = match listed {
        Some(devices) if !devices.is_empty() => devices,
        _ => models_of_driver(count),
    };
    let named = |id: String| {
        let listed = id.parse().ok().and_then(|place: usize| all.get(place).cloned());
        listed.unwrap_or(Gpu { name: id, memory: None })
    };
    match visible_gpus() {
        Some(ids) => ids.into_iter().map(named).collect(),
        None => all,
    }
}

/// `NVIDIA GeForce RTX 3090, 24576`: name, and memory in MiB.
fn read_list(text: &str) -> Vec<Gpu> {
    let device = |line: &str| {
        let (name, memory) = line.rsplit_once(',')?;
        Some(Gpu { name: name.trim().to_owned(), memory: memory.trim().parse::<u64>().ok().map(|mib| mib << 20) })
    };
    text.lines().filter_map(device).collect()
}

/// Names from the driver's files, which say nothing of memory.
fn models_of_driver(count: usize) -> Vec<Gpu> {
    let mut names: Vec<String> = fs::read_dir("/proc/driver/nvidia/gpus")
        .into_iter()
        .flatten()
        .filter_map(|e| fs::read_to_string(e.ok()?.path().join("information")).ok())
        .filter_map(|text| Some(text.lines().find_map(|l| l.strip_prefix("Model:"))?.trim().to_owned()))
        .collect();
    names.sort();
    names.resize(count, "NVIDIA GPU".to_owned());
    names.into_iter().map(|name| Gpu { name, memory: None }).collect()
}

/// Peak resident memory of this process in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_from_the_tools_list() {
        let found = read_list("NVIDIA GeForce RTX 3090, 24576\nNVIDIA A100-SXM4-80GB, [N/A]\n\n");
        let names: Vec<_> = found.iter().map(|g| (g.name.as_str(), g.memory)).collect();
        assert_eq!(names, [("NVIDIA GeForce RTX 3090", Some(24 << 30)), ("NVIDIA A100-SXM4-80GB", None)]);
    }

    #[test]
    fn workers_share_what_this_process_was_given() {
        assert_eq!(share(&[0, 2], None), "0,2");
        let ours = ids("5, GPU-7f,-1,3");
        assert_eq!(ours, ["5", "GPU-7f"]);
        assert_eq!(share(&[1], Some(&ours)), "GPU-7f");
        assert_eq!(share(&[], Some(&ours)), "");
    }
}
