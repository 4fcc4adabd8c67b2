//! The loss and the gradient of one optimiser step, and what is no longer a training.

use candle_core::{Tensor, Var};

use super::{optimizer::collect, trainer_state::TrainerState, training::Training};
use crate::{
    base::error::{Error, Result},
    models::{Mode, free_unused_buffers},
    packing::{PackedBatch, Sample},
};

/// A forward pass is told from others by its step, and by the row in bits that no step reaches.
const ROW_OF_PASS: u32 = 40;

/// Steps whose median loss the spike guard compares with.
const SPIKE_WINDOW: usize = 16;

/// What one optimiser step computed.
pub struct StepResult {
    /// Mean over the labelled tokens, in nats.
    pub loss: f64,
    /// That of each labelled token, in the order of the samples, `[labelled tokens]`.
    pub losses: Vec<f32>,
    /// In the parameters' order and shapes.
    pub gradients: Vec<Tensor>,
    pub labelled_tokens: u64,
    /// Tokens that the backbone read.
    pub tokens: u64,
}

impl Training<'_> {
    /// Gradient of the mean over all labelled tokens of the batch, in the shapes `[...]` of `parameters`: rows are
    /// weighted by their tokens, so that their number changes rounding and nothing else.
    ///
    /// # Errors
    /// Those of the backbone.
    pub(super) fn gradients(
        &self,
        packed: &[PackedBatch],
        step: u64,
        parameters: &[(String, Var)],
    ) -> Result<StepResult> {
        let head = self.adapter.head();
        let labelled: usize = packed.iter().map(|p| p.targets.len()).sum();
        let mut sum: Option<Vec<Tensor>> = None;
        let mut pending = Vec::with_capacity(packed.len());
        for (row, packed) in packed.iter().enumerate() {
            let pass = step | (row as u64) << ROW_OF_PASS;
            let mode =
                Mode::Train { seed: self.seed, pass, gradient_checkpointing: self.runtime.gradient_checkpointing };
            let nll = match head {
                Some(head) => {
                    let summaries = self.backbone.pooled_output(&packed.tree, &packed.leaves, self.adapter, mode)?;
                    head.nll(&summaries, &packed.targets)?
                }
                None => {
                    let hidden = self.backbone.forward(&packed.tree, self.adapter, mode)?;
                    self.backbone.nll(&hidden, &packed.rows, &packed.targets)?
                }
            };
            self.progress.phase("forward");
            let gradients = collect(parameters, &(nll.sum_all()? / labelled as f64)?.backward()?)?;
            self.progress.phase("backward");
            free_unused_buffers();
            pending.push(nll.detach());
            sum = Some(match sum {
                None => gradients,
                Some(sum) => sum.iter().zip(&gradients).map(|(a, b)| a + b).collect::<candle_core::Result<_>>()?,
            });
        }
        // Read only now: a device that works by itself has been given all rows by then.
        let losses = pending.iter().map(Tensor::to_vec1::<f32>).collect::<candle_core::Result<Vec<_>>>()?;
        let of_row = |row: &Vec<f32>| row.iter().copied().map(f64::from).sum::<f64>();
        Ok(StepResult {
            loss: losses.iter().map(of_row).sum::<f64>() / labelled as f64,
            losses: losses.concat(),
            gradients: sum.unwrap_or_default(),
            labelled_tokens: labelled as u64,
            tokens: packed.iter().map(|p| p.tree.len() as u64).sum(),
        })
    }

    /// The samples of a batch whose own loss isn't a finite number.
    fn without_loss<'a>(&self, losses: &[f32], batch: &[&'a Sample]) -> Vec<&'a Sample> {
        let mut rest = losses;
        let labelled = |s: &Sample| match self.adapter.head() {
            Some(_) => 1,
            None => self.answers.labels[s.label as usize].len() + 1,
        };
        let mut has_none = |s: &Sample| {
            let (own, others) = rest.split_at(labelled(s).min(rest.len()));
            rest = others;
            own.iter().any(|x| !x.is_finite())
        };
        batch.iter().copied().filter(|s| has_none(s)).collect()
    }

    /// Looks at the loss of the step behind those of `state`, before its gradients change anything.
    ///
    /// # Errors
    /// If the loss isn't finite, or leaps above the median of the last steps by more than [`RuntimeOptions::max_loss_rise`].
    ///
    /// [`RuntimeOptions::max_loss_rise`]: super::RuntimeOptions::max_loss_rise
    pub(super) fn guard(&self, result: &StepResult, state: &TrainerState, batch: &[&Sample]) -> Result<()> {
        let StepResult { loss, losses, .. } = result;
        let loss = *loss;
        if !loss.is_finite() {
            return Err(diverged("the loss is not finite", state.step, &self.without_loss(losses, batch)));
        }
        let Some(start) = state.loss.len().checked_sub(SPIKE_WINDOW) else { return Ok(()) };
        let mut recent = state.loss[start..].to_vec();
        recent.sort_by(f32::total_cmp);
        let usual = f64::from(recent[SPIKE_WINDOW / 2]);
        if loss > usual + self.runtime.max_loss_rise {
            return Err(diverged(&format!("the loss leapt from about {usual:.3} to {loss:.3}"), state.step, batch));
        }
        Ok(())
    }
}

/// What is said of a training that goes nowhere.
pub fn diverged(what: &str, step: u64, batch: &[&Sample]) -> Error {
    let ids: Vec<&str> = batch.iter().map(|s| s.id.as_str()).collect();
    Error::input(format!("{what} at step {} with the examples {}", step + 1, ids.join(", "))).help(
        "lower the method's `learning_rate`, lengthen `warmup`, or look at these examples; \
         `max_loss_rise` sets how far the loss may leap",
    )
}
