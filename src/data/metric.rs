//! The names of metrics, which a task chooses its table's from. `eval::metrics` defines them.

use serde::{Deserialize, Serialize};

/// A figure that tables show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of examples whose predicted label is the gold one.
    Accuracy,
    /// Unweighted mean of the classes' F1.
    MacroF1,
    /// Mean of the classes' F1, weighted by gold support.
    WeightedF1,
    /// Unweighted accuracy: mean of the classes' recall.
    Ua,
}

impl Metric {
    pub const ALL: [Self; 4] = [Self::Accuracy, Self::MacroF1, Self::WeightedF1, Self::Ua];

    /// The name in pipeline files and CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro-f1",
            Self::WeightedF1 => "weighted-f1",
            Self::Ua => "ua",
        }
    }

    /// The name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "Accuracy",
            Self::MacroF1 => "Macro-F1",
            Self::WeightedF1 => "Weighted-F1",
            Self::Ua => "UA",
        }
    }
}
