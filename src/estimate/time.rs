//! How long training, evaluation and downloads take by the amount of their work: for plans that no earlier run tells anything of.
//! The rates are those of usual machines, so that the figures are right to a factor of a few.

use std::collections::BTreeMap;

use super::footprint::Prompts;
use super::peak_memory::{Answering, ModelShape, Row};
use crate::{
    base::{error::Result, machine::Device},
    engine::{Artifact, Work},
    train::TrainingLength,
};

/// Floating-point operations a second of one core with vectors of 256 bits, in f32.
const CORE: f64 = 70e9;

/// The same of a GPU of 24 GB with tensor cores, in bf16, at a third of what its maker says.
const GPU: f64 = 25e12;

/// Bytes a second, over the network or from a disk.
const TRANSFER: f64 = 20e6;

/// Seconds until a process has begun, and bytes a second at which it reads a model.
const START: f64 = 0.5;
const READING: f64 = 500e6;

type Inputs = BTreeMap<String, Vec<Artifact>>;

/// Of `download`: bytes, as far as they are known.
#[derive(Debug)]
pub struct Transfer(pub u64);

impl Work for Transfer {
    fn seconds(&self, _: &Inputs, _: u32) -> Result<f64> {
        Ok(START + self.0 as f64 / TRANSFER)
    }
}

fn computing(shape: &ModelShape, operations: f64, cores: u32) -> f64 {
    let rate = match shape.device {
        Device::Cpu => CORE * f64::from(cores.max(1)),
        Device::Cuda => GPU,
    };
    START + shape.bytes() as f64 / READING + operations / rate
}

/// Of `train`.
#[derive(Debug)]
pub struct TrainingWork {
    pub shape: ModelShape,
    pub prompts: Prompts,
    pub batch_size: usize,
    pub length: TrainingLength,
    pub gradient_checkpointing: bool,
}

impl Work for TrainingWork {
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

/// Of `evaluate`.
#[derive(Debug)]
pub struct EvaluationWork {
    pub shape: ModelShape,
    pub answering: Answering,
    pub prompts: Prompts,
}

impl Work for EvaluationWork {
    fn seconds(&self, inputs: &Inputs, cores: u32) -> Result<f64> {
        let lengths = self.prompts.usual_lengths(inputs, &self.shape, None)?;
        Ok(computing(&self.shape, self.shape.operations(lengths.all_answered(self.answering)), cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::footprint::tests::smollm2;

    fn training(length: TrainingLength, gradient_checkpointing: bool) -> TrainingWork {
        TrainingWork {
            shape: smollm2(),
            prompts: Prompts { split: "train".to_owned(), max_tokens: Some(128), examples: Some(32) },
            batch_size: 16,
            length,
            gradient_checkpointing,
        }
    }

    /// 106 M numbers in linear layers; 16 prompts of 64 tokens with answers of 2; two operations a number and pass.
    #[test]
    fn time_follows_the_work() {
        let seconds = |work: TrainingWork, cores| work.seconds(&Inputs::new(), cores).unwrap();
        let base = seconds(training(TrainingLength::Steps(0), false), 1);
        let hundred = seconds(training(TrainingLength::Steps(100), false), 1) - base;
        let expected = 100.0 * 2.0 * 2.0 * (106.17e6 * 16.0 * 66.0 + 49152.0 * 576.0 * 16.0 * 3.0) / CORE;
        assert!((hundred / expected - 1.0).abs() < 0.01, "{hundred} is not {expected}");
        let checkpointed = seconds(training(TrainingLength::Steps(100), true), 1) - base;
        assert!((checkpointed / hundred - 1.5).abs() < 1e-6);
        let shared = seconds(training(TrainingLength::Steps(100), false), 2) - base;
        assert!((hundred / shared - 2.0).abs() < 1e-6);
    }
}
