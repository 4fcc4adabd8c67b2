//! An adapter that is only read: nothing is kept for its gradients.

use candle_core::{Tensor, Var};

use serde_json::Value;

use super::{
    adapter::{Adapter, LowRank, RowLengths, SavedAdapter},
    head::Head,
};
use crate::base::error::Result;

/// What evaluation sees of an adapter.
pub struct DetachedAdapter<'a>(pub &'a dyn Adapter);

impl Adapter for DetachedAdapter<'_> {
    fn parameters(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        self.0.low_rank(path).map(|low| LowRank {
            a: low.a.detach(),
            b: low.b.detach(),
            lengths: low.lengths.map(|l| RowLengths { trained: l.trained.detach(), ..l }),
            ..low
        })
    }

    fn prefix(&self) -> Result<Option<Vec<Tensor>>> {
        Ok(self.0.prefix()?.map(|layers| layers.iter().map(Tensor::detach).collect()))
    }

    fn soft_prompt(&self) -> Result<Option<Tensor>> {
        Ok(self.0.soft_prompt()?.map(|prompt| prompt.detach()))
    }

    fn head(&self) -> Option<&Head> {
        self.0.head()
    }

    fn method(&self) -> &'static str {
        self.0.method()
    }

    fn peft_type(&self) -> Option<&'static str> {
        self.0.peft_type()
    }

    fn wraps_no_layer(&self) -> bool {
        self.0.wraps_no_layer()
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        self.0.facts()
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        self.0.save(base_model)
    }
}
