//! One node of the DAG, and what its readers see of its result.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::digest::Digest,
    engine::{Resolved, StageKind},
};

/// One node of the DAG.
pub struct Action {
    /// `train[task=sst5,method=lora,seed=0]`
    pub name: String,
    pub stage: String,
    pub axes: Vec<(String, String)>,
    pub kind: &'static dyn StageKind,
    pub resolved: Resolved,
    /// Role, and the actions that fill it, in the order of their names.
    pub inputs: BTreeMap<String, Vec<usize>>,
    pub export: Option<String>,
    /// Whether the pipeline file says how much memory the action occupies.
    pub memory_is_set: bool,
}

/// A result, as those who read it see it.
#[derive(Debug, Clone)]
pub struct Finished {
    pub artifact: Digest,
    pub notes: Notes,
}

/// What was vouched for on the way to a result; almost always nothing, so it is shared.
pub type Notes = Option<Arc<BTreeSet<String>>>;
