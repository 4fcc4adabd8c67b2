//! What stays the same all through a run.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use super::run_options::Options;
use crate::{
    engine::plan::{Action, Plan},
    store::Store,
};

pub struct RunContext<'a> {
    pub plan: &'a Plan,
    pub store: &'a Arc<Store>,
    pub options: &'a Options,
    pub selected: HashSet<usize>,
    /// Actions whose result is made again.
    pub forced: HashSet<usize>,
    /// The run's name.
    pub run: String,
    /// Where its journal and logs lie.
    pub folder: PathBuf,
}

impl RunContext<'_> {
    pub fn action(&self, i: usize) -> &Action {
        &self.plan.actions[i]
    }

    pub fn name(&self, i: usize) -> String {
        self.action(i).name.clone()
    }

    pub fn is_selected(&self, i: usize) -> bool {
        self.selected.contains(&i)
    }

    /// The file for what an action's worker prints.
    pub fn log(&self, i: usize) -> PathBuf {
        let safe = |c: char| if c.is_alphanumeric() || "-_.=,".contains(c) { c } else { '_' };
        let name: String = self.action(i).name.chars().map(safe).collect();
        self.folder.join(format!("{name}.log"))
    }
}

/// `20260131-235959-123-4242`: sorts by time, and two runs at once differ.
pub fn run_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let time = chrono::DateTime::from_timestamp_millis(now).map(|t| t.format("%Y%m%d-%H%M%S-%3f").to_string());
    format!("{}-{}", time.unwrap_or_else(|| now.to_string()), std::process::id())
}
