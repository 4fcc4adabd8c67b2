//! One action, described by its kind.

use std::sync::Arc;

use serde_json::Value;

use super::cost_estimate::{MemoryEstimate, TimeEstimate};
use crate::{base::machine::Resources, config::Diagnostic};

/// An action, described. Kinds with parameters of a type of their own (`P`) write `Resolved { .., ..Resolved::of(params) }`.
#[derive(Debug, Clone, Default)]
pub struct Resolved<P = Value> {
    /// Everything that can change the result's bytes. Enters the key in canonical form (object keys sorted).
    pub params: P,
    /// What the work needs but can't change its bytes (a URL whose content is pinned, say). Not in the key.
    pub unkeyed: Value,
    /// What of it must not be written down, such as an address with a password in it. It reaches the worker and no file.
    pub private: Value,
    /// `cpu-f32`, `cuda-bf16`, ... where the bytes depend on how the device computes.
    pub numerics: Option<String>,
    pub resources: Resources,
    /// Variables of this process's environment that the worker gets, besides emopipe's own: names, or beginnings of names
    /// followed by `*`. None: all but those of a remote store's credentials.
    pub variables: Option<Vec<String>>,
    /// Where memory can be told in advance.
    pub memory: Option<Arc<dyn MemoryEstimate>>,
    /// Where time can be told in advance.
    pub time: Option<Arc<dyn TimeEstimate>>,
    /// How often an environment error is tried again.
    pub retries: u32,
    /// How far numbers in the result's text files may differ when the action is computed again (relative, near 0
    /// absolute). None: not at all.
    pub tolerance: Option<f64>,
    /// What has to be there before the action can run and isn't, such as a file that people have to put somewhere. A run that
    /// would have to compute the action doesn't begin.
    pub missing: Vec<Diagnostic>,
    /// Something that is missing would be in the parameters, so the action has no key yet.
    pub keyless: bool,
}

impl<P> Resolved<P> {
    /// An action with these parameters that needs nothing in particular.
    pub fn of(params: P) -> Self {
        Resolved::<()>::default().with(params)
    }

    /// The same action with other parameters.
    pub fn with<Q>(self, params: Q) -> Resolved<Q> {
        Resolved {
            params,
            unkeyed: self.unkeyed,
            private: self.private,
            numerics: self.numerics,
            resources: self.resources,
            variables: self.variables,
            memory: self.memory,
            time: self.time,
            retries: self.retries,
            tolerance: self.tolerance,
            missing: self.missing,
            keyless: self.keyless,
        }
    }
}
