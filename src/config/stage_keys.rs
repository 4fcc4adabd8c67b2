//! The keys that every stage has, whatever its kind.

use schemars::JsonSchema;
use serde::Deserialize;

use super::size::Size;

/// Keys that every stage has, whatever its kind; all others are the kind's own.
pub const COMMON_KEYS: [&str; 6] = ["kind", "matrix", "exclude", "inputs", "resources", "export"];

/// What one action of a stage occupies while it runs; what is left out is estimated by the stage's kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRequest {
    /// Threads.
    pub cores: Option<u32>,
    /// Bytes, or a size such as `"2 GiB"`.
    pub memory: Option<Size>,
    /// Whole devices.
    pub gpus: Option<u32>,
}
