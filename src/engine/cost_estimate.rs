//! What an action will cost: the memory that it holds and the time that it takes, as kinds tell the engine.

use std::{collections::BTreeMap, fmt};

use super::job::Artifact;
use crate::base::{error::Result, machine::Device};

/// What an action will hold in memory at its worst moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    pub device: Device,
    /// What it is held for, and bytes.
    pub parts: Vec<(&'static str, u64)>,
    /// Whether this follows from the data itself, and not from the most that the parameters allow.
    pub exact: bool,
}

impl Footprint {
    /// Bytes.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Tells an action's footprint from its parameters, and better where its inputs are there already.
pub trait MemoryEstimate: fmt::Debug + Send + Sync {
    /// `inputs` holds those that are in the store, by role.
    ///
    /// # Errors
    /// Where an input can't be read.
    fn footprint(&self, inputs: &BTreeMap<String, Vec<Artifact>>) -> Result<Footprint>;

    /// Changes of single settings that would each keep the footprint within `budget` bytes, for people.
    fn remedies(&self, inputs: &BTreeMap<String, Vec<Artifact>>, budget: u64) -> Vec<String>;
}

/// Tells roughly how long an action takes, where no journal does.
pub trait TimeEstimate: fmt::Debug + Send + Sync {
    /// Seconds on `cores` of this machine's cores. `inputs` holds those that are in the store, by role.
    ///
    /// # Errors
    /// If an input can't be read.
    fn seconds(&self, inputs: &BTreeMap<String, Vec<Artifact>>, cores: u32) -> Result<f64>;
}

/// So many seconds, whatever the inputs.
#[derive(Debug, Clone, Copy)]
pub struct Usual(pub f64);

impl TimeEstimate for Usual {
    fn seconds(&self, _: &BTreeMap<String, Vec<Artifact>>, _: u32) -> Result<f64> {
        Ok(self.0)
    }
}
