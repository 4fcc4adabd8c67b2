//! What is heard of a running action.

use serde::{Deserialize, Serialize};

use crate::{base::error::Error, store::ActionResult};

/// What a running action tells the scheduler; a line of JSON where it is in another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ActionEvent {
    /// `done` of `total` units of work.
    Progress {
        done: u64,
        total: u64,
        unit: String,
        note: String,
    },
    /// One line for people.
    Text {
        text: String,
    },
    /// See [`crate::engine::Progress::measure`].
    Measured {
        name: String,
        value: f64,
    },
    /// `seconds` are those that it took where it was carried out.
    Done {
        result: ActionResult,
        seconds: f64,
    },
    Failed {
        error: Error,
    },
}

impl ActionEvent {
    /// Whether nothing more comes of the action.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }
}
