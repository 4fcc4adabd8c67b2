//! Memory and time of an evaluation, and the settings that would make it fit.

use super::{
    lengths::Lengths,
    model_shape::ModelShape,
    prompts::{Inputs, Prompts},
    rates::computing,
    remedies::half_precision,
    row::{Answering, Parts},
};
use crate::{
    base::error::Result,
    engine::{Footprint, MemoryEstimate, TimeEstimate},
    models::AdapterSpec,
};

/// What an evaluation will need.
#[derive(Debug, Clone)]
pub struct EvaluationEstimate {
    pub shape: ModelShape,
    /// Name of the model's table.
    pub model: String,
    pub adapter: AdapterSpec,
    pub answering: Answering,
    pub max_new_tokens: Option<usize>,
    pub prompts: Prompts,
}

impl EvaluationEstimate {
    pub fn parts(&self, lengths: &Lengths) -> Parts {
        let row = lengths.evaluation_row(self.answering, self.max_new_tokens);
        self.shape.peak_evaluation(&self.adapter, row, self.answering)
    }
}

impl MemoryEstimate for EvaluationEstimate {
    fn footprint(&self, inputs: &Inputs) -> Result<Footprint> {
        let (lengths, exact) = self.prompts.lengths(inputs, &self.shape)?;
        Ok(Footprint { device: self.shape.device, parts: self.parts(&lengths).0, exact })
    }

    fn remedies(&self, inputs: &Inputs, budget: u64) -> Vec<String> {
        let Ok((lengths, _)) = self.prompts.lengths(inputs, &self.shape) else { return Vec::new() };
        let with = |shape: &ModelShape| Self { shape: shape.clone(), ..self.clone() }.parts(&lengths);
        half_precision(&self.shape, &self.model, budget, with).into_iter().collect()
    }
}

impl TimeEstimate for EvaluationEstimate {
    fn seconds(&self, inputs: &Inputs, cores: u32) -> Result<f64> {
        let lengths = self.prompts.usual_lengths(inputs, &self.shape, None)?;
        Ok(computing(&self.shape, self.shape.operations(lengths.all_answered(self.answering)), cores))
    }
}
