//! What a pipeline says of an adapter that somebody may have brought from elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Adapter;
use crate::base::error::{Error, Result};

/// What reports call an adapter, so that it had better be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// [`Adapter::method`]
    pub adapter: String,
    /// Whether it comes with a classification head.
    pub head: bool,
    /// Hyper-parameters that the pipeline states itself, under their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
}

impl Stated {
    /// # Errors
    /// If the adapter is another one.
    pub fn check(&self, adapter: &dyn Adapter) -> Result<()> {
        let head = |has: bool| if has { "a classification head" } else { "no classification head" };
        let facts = adapter.facts();
        let other = |name: &str| facts.iter().find(|(fact, _)| *fact == name).map(|(_, number)| *number);
        let contradiction = if self.adapter != adapter.method() {
            let peft_type = adapter.peft_type().map(|name| format!(" (`peft_type` {name})")).unwrap_or_default();
            let is = format!("of the kind `{}`{peft_type}", adapter.method());
            Some((format!("`adapter = \"{}\"`", self.adapter), is))
        } else if self.head != adapter.head().is_some() {
            Some((head(self.head).to_owned(), format!("one with {}", head(adapter.head().is_some()))))
        } else {
            self.numbers.iter().find_map(|(name, stated)| {
                let own = other(name).filter(|own| (own - stated).abs() > 1e-9 * stated.abs())?;
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
