//! Places the results of a run in the project.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::run_options::Options;
use crate::{
    base::error::Result,
    config::Spec,
    engine::{journal::Event, plan::Plan},
    store::{ActionResult, Exports, Removed, Store},
};

pub struct ProjectExports<'a> {
    plan: &'a Plan,
    /// None for a check, which places nothing.
    exports: Option<Exports<'a>>,
}

impl<'a> ProjectExports<'a> {
    /// # Errors
    /// If a folder can't be written, or what lies there isn't emopipe's.
    pub fn new(plan: &'a Plan, store: &'a Arc<Store>, options: &Options) -> Result<Self> {
        if options.check {
            return Ok(Self { plan, exports: None });
        }
        let Spec { pipeline, tracked_fs, .. } = &plan.spec;
        let exports = Exports::new(store, &pipeline.root, tracked_fs.texts(), options.overwrite)?;
        let folders: BTreeSet<&String> = plan.actions.iter().filter_map(|action| action.export.as_ref()).collect();
        for folder in folders {
            exports.check(folder)?;
        }
        Ok(Self { plan, exports: Some(exports) })
    }

    /// Copies a result to where its action exports it.
    ///
    /// # Errors
    /// If a file is in the way or can't be written.
    pub fn place(&mut self, i: usize, result: &ActionResult) -> Result<Option<Event>> {
        let action = &self.plan.actions[i];
        let (Some(folder), Some(exports)) = (&action.export, &mut self.exports) else { return Ok(None) };
        let written = exports.place(&self.plan.identity(i), folder, result)?;
        Ok(Some(Event::Exported { action: action.name.clone(), folder: folder.clone(), written }))
    }

    /// Writes what belongs to emopipe beside the exports. After a run in which nothing went wrong, a `whole` one, what the
    /// pipeline no longer makes is taken out of the project.
    ///
    /// # Errors
    /// If a file can't be written or removed.
    pub fn finish(&mut self, whole: bool) -> Result<Vec<Removed>> {
        let Some(exports) = self.exports.take() else { return Ok(Vec::new()) };
        let place = |i: usize| Some((self.plan.identity(i), self.plan.actions[i].export.clone()?));
        let planned: BTreeMap<String, String> = (0..self.plan.actions.len()).filter_map(place).collect();
        exports.finish(&self.plan.owner(), whole.then_some(&planned))
    }
}
