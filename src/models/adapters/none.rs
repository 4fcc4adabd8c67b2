//! No adapter: the backbone as it was published.

use candle_core::Var;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Adapter, SavedAdapter};
use crate::base::error::{Error, Result};

/// Nothing to set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntrainedSpec {}

/// The backbone alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untrained;

impl Adapter for Untrained {
    fn parameters(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn method(&self) -> &'static str {
        "none"
    }

    fn save(&self, _: &str) -> Result<SavedAdapter> {
        Err(Error::internal("there is no adapter to save"))
    }
}
