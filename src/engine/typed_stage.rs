//! A stage kind by its types: what every kind does alike with its table and its parameters is done here, once.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    action_context::Context,
    resolved::Resolved,
    stage_kind::{Isolation, ResolveContext, StageKind},
};
use crate::{
    base::error::Result,
    config::{self, Diagnostic, Node},
};

/// A kind of stage, without what is alike for all: reading and checking its table, the table's schema, and its parameters on
/// their way into the key and to the worker.
pub trait TypedStage: Sync {
    /// What pipeline files call it.
    const NAME: &'static str;

    /// See [`StageKind::version`].
    const VERSION: u32;

    /// See [`StageKind::isolation`].
    const ISOLATION: Isolation = Isolation::Worker;

    /// See [`StageKind::metrics`].
    const METRICS: Option<&'static str> = None;

    /// See [`StageKind::shows_notes`].
    const SHOWS_NOTES: bool = false;

    /// See [`StageKind::executes`].
    const EXECUTES: bool = false;

    /// The stage's own keys in a pipeline file.
    type Table: DeserializeOwned + JsonSchema;

    /// Everything that can change the result's bytes, with every default and every definition filled in.
    type Params: Serialize + DeserializeOwned;

    /// The full description of one action. What it asks of the file system and the environment goes through
    /// [`crate::config::Spec::tracked_fs`].
    ///
    /// # Errors
    /// All that is wrong with the stage.
    fn resolve(cx: &ResolveContext, table: Self::Table) -> Result<Resolved<Self::Params>, Vec<Diagnostic>>;

    /// See [`StageKind::outputs`].
    fn outputs(_params: &Self::Params) -> Option<Vec<String>> {
        None
    }

    /// See [`StageKind::run`].
    ///
    /// # Errors
    /// Whatever keeps the work from being done.
    fn run(cx: &Context, params: Self::Params) -> Result<()>;
}

impl<T: TypedStage> StageKind for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn version(&self) -> u32 {
        T::VERSION
    }

    fn check(&self, table: &Node) -> Vec<Diagnostic> {
        config::check::<T::Table>(table)
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T::Table>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let resolved = <T as TypedStage>::resolve(cx, config::from_node(&cx.action.params)?)?;
        let params = serde_json::to_value(&resolved.params)
            .map_err(|e| vec![Diagnostic::new(format!("these parameters can't be written down: {e}"))])?;
        Ok(resolved.with(params))
    }

    fn isolation(&self) -> Isolation {
        T::ISOLATION
    }

    fn metrics(&self) -> Option<&'static str> {
        T::METRICS
    }

    fn outputs(&self, params: &Value) -> Option<Vec<String>> {
        <T as TypedStage>::outputs(&T::Params::deserialize(params).ok()?)
    }

    fn shows_notes(&self) -> bool {
        T::SHOWS_NOTES
    }

    fn executes(&self) -> bool {
        T::EXECUTES
    }

    fn run(&self, cx: &Context) -> Result<()> {
        <T as TypedStage>::run(cx, cx.params()?)
    }
}
