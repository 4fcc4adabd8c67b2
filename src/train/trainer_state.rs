//! How far a training has come, and how that goes into a checkpoint and out of it.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::{
    checkpoint::Checkpoint,
    optimizer::{AdamW, AdamWState},
    training_summary::DevPoint,
};
use crate::base::error::{Error, Result};

/// How far a training has come, apart from the tensors.
#[derive(Default)]
pub struct TrainerState {
    /// Optimiser steps taken.
    pub step: u64,
    pub labelled_tokens: u64,
    /// Mean loss of each step in nats, `[steps]`.
    pub loss: Vec<f32>,
    pub dev: Vec<DevPoint>,
    /// The parameters of the best measurement, where they are to be kept.
    pub best: Vec<Tensor>,
}

impl TrainerState {
    /// Index of the best measurement; of equal ones the first.
    pub fn best_point(&self) -> Option<usize> {
        (0..self.dev.len()).reduce(|best, i| if self.dev[i].correct > self.dev[best].correct { i } else { best })
    }

    /// Measurements after the best one.
    pub fn measurements_since_best(&self) -> Option<usize> {
        self.best_point().map(|best| self.dev.len() - 1 - best)
    }

    /// The state, with `parameters`, of any shapes `[...]`, and the optimiser's moments, as it goes into a checkpoint.
    ///
    /// # Errors
    /// If the device fails.
    pub fn checkpoint(&self, parameters: &[(String, Var)], optimiser: &AdamW) -> Result<Checkpoint> {
        let AdamWState { steps, moments: mut tensors } = optimiser.state()?;
        tensors.extend(parameters.iter().map(|(name, p)| (adapter_key(name), p.as_tensor().clone())));
        tensors.extend(parameters.iter().zip(&self.best).map(|((name, _), best)| (best_key(name), best.clone())));
        Ok(Checkpoint {
            step: self.step,
            optimiser_steps: steps,
            labelled_tokens: self.labelled_tokens,
            loss: self.loss.clone(),
            dev: self.dev.clone(),
            tensors,
        })
    }

    /// Goes on where `state` was taken; sets `parameters`, of the same shapes `[...]`, and `optimiser`, too.
    ///
    /// # Errors
    /// If it is the state of another training.
    pub fn restore(&mut self, state: &Checkpoint, parameters: &[(String, Var)], optimiser: &mut AdamW) -> Result<()> {
        for (name, parameter) in parameters {
            let saved = state.tensors.get(&adapter_key(name));
            let saved = saved.ok_or_else(|| Error::internal(format!("the checkpoint lacks the parameter `{name}`")))?;
            parameter.set(&saved.to_device(parameter.device())?)?;
        }
        let moments: BTreeMap<String, Tensor> = state
            .tensors
            .iter()
            .filter(|(k, _)| !k.starts_with(ADAPTER) && !k.starts_with(BEST))
            .map(|(k, t)| (k.clone(), t.clone()))
            .collect();
        optimiser.restore(&AdamWState { steps: state.optimiser_steps, moments })?;
        self.step = state.step;
        self.labelled_tokens = state.labelled_tokens;
        self.loss.clone_from(&state.loss);
        self.dev.clone_from(&state.dev);
        self.best = parameters.iter().filter_map(|(name, _)| state.tensors.get(&best_key(name)).cloned()).collect();
        Ok(())
    }
}

const ADAPTER: &str = "adapter.";
const BEST: &str = "best.";

fn adapter_key(name: &str) -> String {
    format!("{ADAPTER}{name}")
}

fn best_key(name: &str) -> String {
    format!("{BEST}{name}")
}
