//! No adapter: the backbone as it was published.

use candle_core::Var;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    adapter::{Adapter, SavedAdapter},
    adapter_method::AdapterMethod,
};
use crate::{
    base::error::{Error, Result},
    models::{Backbone, BackboneShape},
};

/// The backbone as it is; nothing to set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntrainedOptions {}

impl AdapterMethod for UntrainedOptions {
    const KIND: &'static str = "none";
    const TITLE: &'static str = "No adapter";

    fn is_trained(&self) -> bool {
        false
    }

    fn create(&self, _: &dyn Backbone, _: u64, _: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(Untrained))
    }

    fn trainable(&self, _: BackboneShape) -> u64 {
        0
    }
}

/// The backbone alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untrained;

impl Adapter for Untrained {
    fn parameters(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn method(&self) -> &'static str {
        UntrainedOptions::KIND
    }

    fn save(&self, _: &str) -> Result<SavedAdapter> {
        Err(Error::internal("there is no adapter to save"))
    }
}
