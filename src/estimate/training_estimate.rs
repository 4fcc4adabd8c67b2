//! Memory and time of a training, and the settings that would make it fit.

use super::{
    lengths::Lengths,
    model_shape::ModelShape,
    prompts::{Inputs, Prompts},
    rates::computing,
    remedies::{first_that_fits, half_precision, halves},
    row::{Parts, Row},
};
use crate::{
    base::error::Result,
    engine::{Footprint, MemoryEstimate, TimeEstimate},
    models::AdapterSpec,
    packing::most_in_row,
    train::TrainingLength,
};

/// What a training will need.
#[derive(Debug, Clone)]
pub struct TrainingEstimate {
    pub shape: ModelShape,
    /// Name of the model's and the method's table.
    pub model: String,
    pub method: String,
    pub adapter: AdapterSpec,
    pub batch_size: usize,
    pub gradient_accumulation_steps: usize,
    pub gradient_checkpointing: bool,
    pub length: TrainingLength,
    pub prompts: Prompts,
}

impl TrainingEstimate {
    /// The largest row that one step computes at once.
    pub fn row(&self, lengths: &Lengths) -> Row {
        let whole = lengths.training_row(self.batch_size.div_ceil(self.gradient_accumulation_steps.max(1)));
        let most = most_in_row(lengths.shared, self.shape.device.is_cpu());
        Row { tokens: whole.tokens.min(most.saturating_add(lengths.shared + lengths.longest())), ..whole }
    }

    pub fn parts(&self, lengths: &Lengths) -> Parts {
        self.shape.peak_training(&self.adapter, self.row(lengths), self.gradient_checkpointing)
    }

    /// Every setting that alone brings the peak within the budget.
    fn fitting(&self, lengths: &Lengths, budget: u64) -> Vec<String> {
        let mut found = Vec::new();
        let method = &self.method;
        let accumulations = std::iter::successors(Some(2), |n| Some(n * 2)).take_while(|n| *n <= self.batch_size);
        let with = |change: &dyn Fn(&mut Self)| {
            let mut other = self.clone();
            change(&mut other);
            other.parts(lengths)
        };
        if with(&|t| t.gradient_checkpointing = true).total() <= budget {
            found.push(format!("method.{method}.gradient_checkpointing=true (the same bytes, more slowly)"));
        }
        if let Some(n) = first_that_fits(accumulations, budget, |n| with(&|t| t.gradient_accumulation_steps = n)) {
            found.push(format!("method.{method}.gradient_accumulation_steps={n} (the same gradients, more slowly)"));
        }
        if let Some(n) = first_that_fits(halves(self.batch_size), budget, |n| with(&|t| t.batch_size = n)) {
            found.push(format!("method.{method}.batch_size={n}"));
        }
        let longest = lengths.longest_prompt();
        let shorter =
            (1..).map(|i| (longest / 16 * 16).saturating_sub(16 * (i - 1))).take_while(|n| *n > lengths.shared + 16);
        if let Some(n) = first_that_fits(shorter, budget, |n| self.parts(&lengths.cut(n))) {
            found.push(format!("a `max_tokens` of {n} (cuts longer sentences)"));
        }
        if let Some((key, size)) = self.adapter.size() {
            let need = |n| with(&|t| t.adapter = t.adapter.with_size(n));
            let fits = first_that_fits(halves(size), budget, need);
            found.extend(fits.map(|n| format!("method.{method}.adapter.{key}={n}")));
        }
        found.extend(half_precision(&self.shape, &self.model, budget, |shape| with(&|t| t.shape = shape.clone())));
        found
    }
}

impl MemoryEstimate for TrainingEstimate {
    fn footprint(&self, inputs: &Inputs) -> Result<Footprint> {
        let (lengths, exact) = self.prompts.lengths(inputs, &self.shape)?;
        Ok(Footprint { device: self.shape.device, parts: self.parts(&lengths).0, exact })
    }

    fn remedies(&self, inputs: &Inputs, budget: u64) -> Vec<String> {
        self.prompts.lengths(inputs, &self.shape).map(|(l, _)| self.fitting(&l, budget)).unwrap_or_default()
    }
}

impl TimeEstimate for TrainingEstimate {
    fn seconds(&self, inputs: &Inputs, cores: u32) -> Result<f64> {
        let enough = matches!(self.length, TrainingLength::Steps(_)).then_some(self.batch_size);
        let lengths = self.prompts.usual_lengths(inputs, &self.shape, enough)?;
        let samples = lengths.samples();
        let steps = self.length.steps((samples as u64).div_ceil(self.batch_size as u64)) as f64;
        let batch = self.batch_size.min(samples) as f64 / samples.max(1) as f64;
        let whole = lengths.training_row(samples);
        let own = (whole.tokens - lengths.shared) as f64 * batch;
        let row = Row { tokens: lengths.shared + own as usize, predicting: (whole.predicting as f64 * batch) as usize };
        // Forward, the gradient of every layer's input, and forward again where layers keep nothing.
        let passes = if self.gradient_checkpointing { 3.0 } else { 2.0 };
        Ok(computing(&self.shape, steps * passes * self.shape.operations(row), cores))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        base::machine::Device,
        estimate::{lengths::ANSWER, model_shape::tests::smollm2, rates::CORE},
    };

    fn training() -> TrainingEstimate {
        TrainingEstimate {
            shape: smollm2(),
            model: "small".to_owned(),
            method: "lora".to_owned(),
            adapter: serde_json::from_value(
                json!({ "kind": "lora", "rank": 8, "alpha": 32.0, "target_modules": ["q_proj"] }),
            )
            .unwrap(),
            batch_size: 16,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            length: TrainingLength::Epochs(1.0),
            prompts: Prompts { split: "train".to_owned(), max_tokens: Some(128), examples: None },
        }
    }

    #[test]
    fn without_tokens_the_longest_prompt_is_the_bound() {
        let training = training();
        let bound = Lengths::bound(128);
        // More than a CPU's row, by one prompt at most.
        assert_eq!(training.row(&bound), Row { tokens: 640 + 128 + ANSWER, predicting: 16 * (ANSWER + 1) });
        let estimate = training.footprint(&Inputs::new()).unwrap();
        assert!(!estimate.exact);
        assert_eq!(estimate.parts, training.parts(&bound).0);
        let parts = TrainingEstimate { gradient_accumulation_steps: 4, ..training };
        assert_eq!(parts.row(&bound).tokens, 4 * (128 + ANSWER));
        let mut on_a_gpu = TrainingEstimate { gradient_accumulation_steps: 1, ..parts };
        on_a_gpu.shape.device = Device::Cuda;
        assert_eq!(on_a_gpu.row(&bound).tokens, 16 * (128 + ANSWER));
    }

    #[test]
    fn each_remedy_alone_fits_and_nothing_weaker_does() {
        let mut training = training();
        training.shape.device = Device::Cuda;
        let budget = 1850 << 20;
        let remedies = training.remedies(&Inputs::new(), budget);
        assert_eq!(
            remedies,
            [
                "method.lora.gradient_checkpointing=true (the same bytes, more slowly)",
                "method.lora.gradient_accumulation_steps=4 (the same gradients, more slowly)",
                "method.lora.batch_size=4",
                "a `max_tokens` of 32 (cuts longer sentences)",
            ]
        );
        let with = |gradient_accumulation_steps| {
            TrainingEstimate { gradient_accumulation_steps, ..training.clone() }.footprint(&Inputs::new()).unwrap()
        };
        assert!(with(4).total() <= budget && with(2).total() > budget);
        // Weights alone are more than this.
        assert!(training.remedies(&Inputs::new(), 100 << 20).is_empty());
    }

    fn trained_for(length: TrainingLength, gradient_checkpointing: bool) -> TrainingEstimate {
        let prompts = Prompts { split: "train".to_owned(), max_tokens: Some(128), examples: Some(32) };
        TrainingEstimate { length, gradient_checkpointing, prompts, ..training() }
    }

    /// 106 M numbers in linear layers; 16 prompts of 64 tokens with answers of 2; two operations a number and pass.
    #[test]
    fn time_follows_the_work() {
        let seconds = |work: TrainingEstimate, cores| work.seconds(&Inputs::new(), cores).unwrap();
        let base = seconds(trained_for(TrainingLength::Steps(0), false), 1);
        let hundred = seconds(trained_for(TrainingLength::Steps(100), false), 1) - base;
        let expected = 100.0 * 2.0 * 2.0 * (106.17e6 * 16.0 * 66.0 + 49152.0 * 576.0 * 16.0 * 3.0) / CORE;
        assert!((hundred / expected - 1.0).abs() < 0.01, "{hundred} is not {expected}");
        let checkpointed = seconds(trained_for(TrainingLength::Steps(100), true), 1) - base;
        assert!((checkpointed / hundred - 1.5).abs() < 1e-6);
        let shared = seconds(trained_for(TrainingLength::Steps(100), false), 2) - base;
        assert!((hundred / shared - 2.0).abs() < 1e-6);
    }
}
