//! Whether a machine can do what a plan asks for.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    base::{
        machine::{self, Device, Gpu, Resources},
        units::bytes,
    },
    engine::{
        Footprint,
        plan::{Forecast, Plan},
    },
    models::device,
    store::Store,
};

/// What a machine has for actions.
pub struct Machine {
    pub resources: Resources,
    pub cuda: Vec<Gpu>,
}

impl Machine {
    /// This machine. Its GPUs are only looked for where an action of `plan` asks for one: drivers take their time.
    pub fn of(plan: &Plan) -> Self {
        let resources = machine::resources();
        if plan.actions.iter().all(|a| a.resolved.resources.gpus == 0) {
            return Self { resources, cuda: Vec::new() };
        }
        let cuda = device::gpus_of_machine();
        Self { resources: Resources { gpus: cuda.len() as u32, ..resources }, cuda }
    }

    /// Bytes that one action may hold on `device`; None where nobody tells.
    fn memory(&self, device: Device) -> Option<u64> {
        match device {
            Device::Cpu => Some(self.resources.memory),
            Device::Cuda => self.cuda.iter().map(|gpu| gpu.memory).max().flatten(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let gpu = |gpu: &Gpu| format!("{} ({})", gpu.name, gpu.memory.map_or("memory unknown".to_owned(), bytes));
        let gpus: Vec<_> = self.cuda.iter().map(gpu).collect();
        let gpus = if gpus.is_empty() { "no CUDA device".to_owned() } else { gpus.join(", ") };
        format!("{} core(s), {} of memory, {gpus}", self.resources.cores, bytes(self.resources.memory))
    }
}

/// A plan with what is known of its actions' memory.
pub struct Assessed<'a> {
    pub plan: &'a Plan,
    pub store: &'a Store,
    pub selected: &'a HashSet<usize>,
    pub forecasts: &'a [Forecast],
    pub footprints: &'a [Option<Footprint>],
}

impl Assessed<'_> {
    /// The selected actions that would run and whose memory is known.
    pub fn known(&self) -> impl Iterator<Item = (usize, &Footprint)> {
        self.to_run().filter_map(|i| Some((i, self.footprints[i].as_ref()?)))
    }

    /// Why this machine can't do it, a reason a line; nothing where it can.
    pub fn diagnostics(&self, machine: &Machine) -> Vec<String> {
        let mut found = Vec::new();
        let devices: BTreeSet<Device> = self.known().map(|(_, f)| f.device).collect();
        for device in devices {
            if let Err(e) = device::supported(device) {
                let help = e.help.map_or_else(String::new, |h| format!("; {h}"));
                found.push(format!("`device = \"{}\"`: {}{help}", device.name(), e.message));
            }
        }
        // One reason a stage and device: that of its largest action.
        let mut largest: BTreeMap<(&str, Device), (usize, &Footprint)> = BTreeMap::new();
        for (i, footprint) in self.known() {
            if self.plan.actions[i].memory_is_set && footprint.device.is_cpu() {
                continue;
            }
            let worst = largest.entry((&self.plan.actions[i].stage, footprint.device)).or_insert((i, footprint));
            if footprint.total() > worst.1.total() {
                *worst = (i, footprint);
            }
        }
        for ((_, device), (i, footprint)) in largest {
            if let Some(budget) = machine.memory(device).filter(|budget| footprint.total() > *budget) {
                found.push(self.too_large(i, footprint, budget));
            }
        }
        found.extend(self.beyond_resources(machine));
        found
    }

    /// Of the actions whose memory isn't known from shapes, or set in the file: those that occupy more than there is.
    fn beyond_resources(&self, machine: &Machine) -> Option<String> {
        let known: HashSet<usize> = self.known().map(|(i, _)| i).collect();
        let stated = self.to_run().filter(|i| !known.contains(i) || self.plan.actions[*i].memory_is_set);
        let needs = |i: &usize| self.plan.actions[*i].resolved.resources.memory;
        let largest = stated.max_by_key(needs).filter(|i| needs(i) > machine.resources.memory)?;
        Some(format!(
            "{} occupies {}, and {} may be used",
            self.plan.actions[largest].name,
            bytes(needs(&largest)),
            bytes(machine.resources.memory)
        ))
    }

    fn to_run(&self) -> impl Iterator<Item = usize> {
        let runs = |i: &usize| self.selected.contains(i) && matches!(self.forecasts[*i], Forecast::Run { .. });
        (0..self.plan.actions.len()).filter(runs)
    }

    fn too_large(&self, i: usize, footprint: &Footprint, budget: u64) -> String {
        let action = &self.plan.actions[i];
        let parts: Vec<_> = footprint.parts.iter().map(|(what, n)| format!("{what} {}", bytes(*n))).collect();
        let inputs = self.plan.known_inputs(i, self.forecasts, self.store);
        let remedies = action.resolved.memory.as_ref().map(|m| m.remedies(&inputs, budget)).unwrap_or_default();
        let remedies = match remedies.as_slice() {
            [] => "no single setting makes it fit".to_owned(),
            some => format!("any of these fits: {}", some.join("; ")),
        };
        let up_to = if footprint.exact { "" } else { " at most (prompt lengths are known once `tokens` are there)" };
        format!(
            "{} needs {}{up_to} on the {} device, and {} may be used: {}\n      {remedies}",
            action.name,
            bytes(footprint.total()),
            footprint.device.name(),
            bytes(budget),
            parts.join(", ")
        )
    }
}
