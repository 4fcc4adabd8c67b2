//! What a training works on, and its batches as packed rows.

use std::ops::Range;

use super::{
    checkpoint::CheckpointFile,
    data_order::DataOrder,
    training_spec::{RuntimeOptions, TrainingSpec},
};
use crate::{
    engine::Progress,
    models::{Adapter, Backbone},
    packing::{Answers, PackedBatch, Sample, most_in_row, rows, shared_beginning},
};

/// Everything that one training works on.
#[derive(Clone)]
pub struct Training<'a> {
    pub backbone: &'a dyn Backbone,
    /// Trained in place.
    pub adapter: &'a dyn Adapter,
    /// `lora`, `ptuning2`, `lora+head`, ... for the summary.
    pub adapter_name: &'a str,
    pub samples: &'a [Sample],
    /// Held-out samples for the accuracy curve; may be empty.
    pub dev: &'a [Sample],
    pub answers: &'a Answers,
    pub spec: &'a TrainingSpec,
    pub runtime: &'a RuntimeOptions,
    pub seed: u64,
    /// Where to resume from and to save to.
    pub checkpoint: Option<CheckpointFile>,
    pub progress: &'a dyn Progress,
}

impl Training<'_> {
    /// Tokens of the largest row that a training from the beginning computes at once, and its labelled ones.
    pub fn largest_row(&self) -> (usize, usize) {
        let order = self.order();
        let rows = (0..self.steps(&order)).flat_map(|step| {
            let batch: Vec<&Sample> = order.batch(step).into_iter().map(|i| &self.samples[i]).collect();
            self.pack(&batch).into_iter().map(|row| (row.tree.len(), row.targets.len()))
        });
        rows.max().unwrap_or_default()
    }

    /// Which samples each step sees.
    pub(super) fn order(&self) -> DataOrder {
        DataOrder { samples: self.samples.len(), batch_size: self.spec.batch_size, seed: self.seed }
    }

    /// Optimiser steps of the whole training.
    pub(super) fn steps(&self, order: &DataOrder) -> u64 {
        self.spec.length.steps(order.steps_per_epoch())
    }

    /// The batch as packed rows: one for each micro-batch, or several where a CPU has no use for a longer one.
    pub(super) fn pack(&self, batch: &[&Sample]) -> Vec<PackedBatch> {
        let parts = self.spec.gradient_accumulation_steps.min(batch.len()).max(1);
        let pack = |part: &[&Sample]| match self.adapter.head() {
            Some(_) => PackedBatch::of_prompts(part, self.backbone.is_causal()),
            None => PackedBatch::new(part, self.answers),
        };
        let micro_batches = batch.chunks(batch.len().div_ceil(parts));
        micro_batches.flat_map(|part| self.rows(part).into_iter().map(|row| pack(&part[row]))).collect()
    }

    fn rows(&self, part: &[&Sample]) -> Vec<Range<usize>> {
        let prompts: Vec<&[u32]> = part.iter().map(|s| s.prompt.as_slice()).collect();
        let shared = if self.backbone.is_causal() { shared_beginning(&prompts) } else { 0 };
        let answer =
            |s: &Sample| if self.adapter.head().is_some() { 0 } else { self.answers.labels[s.label as usize].len() };
        let own: Vec<usize> = part.iter().map(|s| s.prompt.len() - shared + answer(s)).collect();
        rows(&own, most_in_row(shared, self.backbone.device().is_cpu()))
    }
}
