//! What a run is asked to do, and how.

use std::collections::HashMap;

use super::admission::Limits;
use crate::{base::digest::Digest, engine::plan::Selection, remote::Remote};

#[derive(Debug, Default)]
pub struct Options {
    pub limits: Limits,
    /// Go on with what doesn't depend on a failed action.
    pub keep_going: bool,
    pub selection: Selection,
    /// Environment of workers, beyond this process's own.
    pub env: Vec<(String, String)>,
    /// Compute what the selection forces in a scratch folder, only to see whether it gives the same bytes. Nothing is placed
    /// in the project.
    pub check: bool,
    /// Artifacts that actions of these names must give, from a lock file.
    pub expected: HashMap<String, Digest>,
    /// Variables of this process's environment that workers don't get.
    pub withheld: Vec<String>,
    /// Where results are also looked for and sent to.
    pub remote: Option<Remote>,
    /// Replace files of the project that are in the way of exports and that emopipe didn't write.
    pub overwrite: bool,
}
