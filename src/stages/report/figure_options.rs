//! The tables `layouts` of a `report` stage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{config::Spanned, eval::metrics::Metric, report::Form};

/// Axes that are fixed, by name: `{ model = "small", rank = [4, 8] }`. What doesn't have an axis at all passes.
pub type Where = BTreeMap<String, Spanned<OneOrMore>>;

/// A table, curves or a heat map along any axes of the evaluations. An axis is one of a `matrix`, `task`, `method`, `model` or
/// `stage`, or a field of a definition that it names: `method.adapter.rank`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportLayout")]
pub struct FigureOptions {
    /// Name of its files, without extension.
    pub name: Spanned<String>,
    /// Its heading.
    pub title: String,
    /// `table` (default), `curve` or `heatmap`.
    #[serde(default)]
    pub kind: Form,
    /// Of tables and heat maps: the axis whose values are rows.
    #[serde(default)]
    pub rows: Option<Spanned<String>>,
    /// Of tables and heat maps: the axis whose values are columns.
    #[serde(default)]
    pub columns: Option<Spanned<String>>,
    /// Of curves: the axis of numbers that they go along.
    #[serde(default)]
    pub x: Option<Spanned<String>>,
    /// Of curves: the axis that has a line for each value.
    #[serde(default)]
    pub lines: Option<Spanned<String>>,
    /// The axis that has a table, plot or map for each value.
    #[serde(default)]
    pub panels: Option<Spanned<String>>,
    /// Of curves and heat maps: what is shown (default `accuracy`).
    #[serde(default)]
    pub metric: Option<Spanned<Metric>>,
    /// Of tables: what is shown, side by side (default accuracy and macro-F1).
    #[serde(default)]
    pub metrics: Option<Spanned<Vec<Metric>>>,
    /// Which evaluations are shown.
    #[serde(default, rename = "where")]
    #[schemars(with = "BTreeMap<String, OneOrMore>")]
    pub only: Where,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore {
    One(Scalar),
    More(Vec<Scalar>),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// Whether this is the axis value that is written so; numbers are compared as such.
    pub fn is(&self, value: &str) -> bool {
        match self {
            Self::Float(number) => value.parse() == Ok(*number),
            other => other.text() == value,
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

impl OneOrMore {
    pub fn all(&self) -> &[Scalar] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}
