//! Which actions may start on the resources that are free. A run and its forecast both ask here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::machine::Resources;

/// What actions may occupy together.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Limits {
    pub machine: Resources,
    /// Most actions at once, whatever their resources.
    pub jobs: Option<usize>,
}

/// Hands out what actions may occupy together: cores, memory, GPUs, and places among `--jobs`.
pub struct Admission {
    machine: Resources,
    jobs: Option<usize>,
    free: Resources,
    free_gpus: BTreeSet<u32>,
    /// Actions that could start, and what they need; the first in the plan's order goes first.
    ready: BTreeMap<usize, Resources>,
    running: HashMap<usize, Grant>,
}

/// What an action got.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Its place in the plan.
    pub action: usize,
    /// At least what it needs, and cores that nothing else waits for.
    pub resources: Resources,
    /// Places of its GPUs among those of the machine.
    pub gpus: Vec<u32>,
}

impl Admission {
    pub fn new(Limits { machine, jobs }: Limits) -> Self {
        let machine = Resources { cores: machine.cores.max(1), ..machine };
        Self {
            machine,
            jobs: jobs.map(|jobs| jobs.max(1)),
            free: machine,
            free_gpus: (0..machine.gpus).collect(),
            ready: BTreeMap::new(),
            running: HashMap::new(),
        }
    }

    /// Lets an action wait for what it needs. What is more than the machine has, it waits for forever, but for cores.
    pub fn offer(&mut self, action: usize, needs: Resources) {
        self.ready.insert(action, needs);
    }

    /// Takes back an offer.
    pub fn withdraw(&mut self, action: usize) {
        self.ready.remove(&action);
    }

    pub fn nothing_waits(&self) -> bool {
        self.ready.is_empty()
    }

    /// The actions that start now, in order.
    pub fn admit(&mut self) -> Vec<Grant> {
        let mut admitted = Vec::new();
        let mut next = 0;
        while let Some((&action, &needs)) = self.ready.range(next..).next() {
            next = action + 1;
            // Whatever runs has a core, so that a full machine needs no look at what may be very many.
            if self.free.cores == 0 || self.places() == 0 {
                break;
            }
            let cores = needs.cores.clamp(1, self.machine.cores);
            if cores <= self.free.cores && needs.memory <= self.free.memory && needs.gpus <= self.free.gpus {
                self.ready.remove(&action);
                admitted.push(self.grant(action, Resources { cores, ..needs }));
            }
        }
        admitted
    }

    /// How many more actions may run.
    fn places(&self) -> usize {
        self.jobs.map_or(usize::MAX, |jobs| jobs.saturating_sub(self.running.len()))
    }

    fn grant(&mut self, action: usize, needs: Resources) -> Grant {
        // Cores that nothing else waits for speed this action up; the number of threads never changes its bytes.
        let waiting = self.ready.len().min(self.places() - 1);
        let spare = (self.free.cores - needs.cores) / (waiting as u32 + 1);
        let resources = Resources { cores: needs.cores + spare, ..needs };
        self.free.cores -= resources.cores;
        self.free.memory -= resources.memory;
        self.free.gpus -= resources.gpus;
        let gpus: Vec<u32> = self.free_gpus.iter().copied().take(resources.gpus as usize).collect();
        self.free_gpus.retain(|gpu| !gpus.contains(gpu));
        let grant = Grant { action, resources, gpus };
        self.running.insert(action, grant.clone());
        grant
    }

    /// Takes back what an action got.
    pub fn release(&mut self, action: usize) {
        let Some(Grant { resources, gpus, .. }) = self.running.remove(&action) else { return };
        self.free.cores += resources.cores;
        self.free.memory += resources.memory;
        self.free.gpus += resources.gpus;
        self.free_gpus.extend(gpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(cores: u32, memory: u64, gpus: u32) -> Resources {
        Resources { cores, memory, gpus }
    }

    fn admitted(admission: &mut Admission) -> Vec<(usize, u32)> {
        admission.admit().iter().map(|grant| (grant.action, grant.resources.cores)).collect()
    }

    #[test]
    fn what_does_not_fit_lets_smaller_ones_pass() {
        let mut admission = Admission::new(Limits { machine: needs(4, 100, 0), jobs: None });
        for (action, memory) in [(0, 60), (1, 60), (2, 30)] {
            admission.offer(action, needs(1, memory, 0));
        }
        assert_eq!(admitted(&mut admission), [(0, 2), (2, 1)]);
        admission.release(0);
        assert_eq!(admitted(&mut admission), [(1, 3)]);
        assert!(admission.nothing_waits());
    }

    #[test]
    fn jobs_bound_how_many_run_and_their_places_share_the_cores() {
        let mut admission = Admission::new(Limits { machine: needs(6, 100, 0), jobs: Some(2) });
        (0..4).for_each(|action| admission.offer(action, needs(1, 1, 0)));
        assert_eq!(admitted(&mut admission), [(0, 3), (1, 3)]);
        assert_eq!(admitted(&mut admission), []);
        admission.release(1);
        assert_eq!(admitted(&mut admission), [(2, 3)]);
        let mut none = Admission::new(Limits { machine: needs(1, 1, 0), jobs: Some(0) });
        none.offer(0, needs(9, 1, 0));
        assert_eq!(admitted(&mut none), [(0, 1)], "no jobs are one, and too many cores are all");
    }

    #[test]
    fn each_gpu_is_one_actions() {
        let mut admission = Admission::new(Limits { machine: needs(4, 100, 3), jobs: None });
        admission.offer(0, needs(1, 1, 2));
        admission.offer(1, needs(1, 1, 2));
        admission.offer(2, needs(1, 1, 1));
        let gpus: Vec<_> = admission.admit().into_iter().map(|grant| (grant.action, grant.gpus)).collect();
        assert_eq!(gpus, [(0, vec![0, 1]), (2, vec![2])]);
        admission.release(2);
        assert_eq!(admission.admit(), [], "two of three are taken");
        admission.release(0);
        assert_eq!(admission.admit()[0].gpus, [0, 1]);
    }
}
