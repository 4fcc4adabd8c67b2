//! What a pipeline says of an adapter that somebody may have brought from elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adapter::Adapter;
use crate::base::error::{Error, Result};

/// What reports call an adapter, so that it had better be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// [`Adapter::method`]
    pub adapter: String,
    /// Whether it comes with a classification head.
    pub head: bool,
    /// Options that the pipeline states itself, under their names ([`Adapter::facts`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

impl Stated {
    /// # Errors
    /// If the adapter is another one.
    pub fn check(&self, adapter: &dyn Adapter) -> Result<()> {
        let head = |has: bool| if has { "a classification head" } else { "no classification head" };
        let facts = adapter.facts();
        let other = |name: &str| facts.iter().find(|(fact, _)| *fact == name).map(|(_, value)| value);
        let contradiction = if self.adapter != adapter.method() {
            let peft_type = adapter.peft_type().map(|name| format!(" (`peft_type` {name})")).unwrap_or_default();
            let is = format!("of the kind `{}`{peft_type}", adapter.method());
            Some((format!("`kind = \"{}\"`", self.adapter), is))
        } else if self.head != adapter.head().is_some() {
            Some((head(self.head).to_owned(), format!("one with {}", head(adapter.head().is_some()))))
        } else {
            self.options.iter().find_map(|(name, stated)| {
                let own = other(name).filter(|own| !same(own, stated))?;
                Some((format!("`{name} = {stated}`"), format!("one with {own}")))
            })
        };
        match contradiction {
            None => Ok(()),
            Some((stated, is)) => Err(Error::input(format!("the method says {stated}, but the adapter is {is}"))
                .help("reports would call it what it isn't: correct the method, or give the stage another adapter")),
        }
    }
}

/// Numbers may be written in several ways.
fn same(own: &Value, stated: &Value) -> bool {
    match (own.as_f64(), stated.as_f64()) {
        (Some(own), Some(stated)) => (own - stated).abs() <= 1e-9 * stated.abs(),
        _ => own == stated,
    }
}
