//! The optimiser loop.

use std::time::Instant;

use candle_core::Var;

use super::{
    checkpoint::Checkpoint,
    checkpoint_cadence::CheckpointCadence,
    data_order::DataOrder,
    learning_rate::warmup_steps,
    optimizer::{AdamW, AdamWParams, clip_grad_norm},
    trainer_state::TrainerState,
    training::Training,
    training_step::diverged,
    training_summary::TrainingSummary,
};
use crate::{
    base::error::{Error, Result},
    packing::Sample,
};

impl Training<'_> {
    /// Trains to the end, from the checkpoint where there is one that fits.
    ///
    /// # Errors
    /// If the loss or the gradient isn't finite or the loss leaps ([`RuntimeOptions::max_loss_rise`]), naming the batch's
    /// examples; if the user asks to stop (the state is then in the checkpoint); if there is nothing to train.
    ///
    /// [`RuntimeOptions::max_loss_rise`]: super::RuntimeOptions::max_loss_rise
    pub fn run(&self) -> Result<TrainingSummary> {
        let mut trainer = Trainer::new(self)?;
        let begun = Begun { at: Instant::now(), step: trainer.state.step };
        let mut cadence = CheckpointCadence::since(trainer.state.step);
        let mut tokens = 0;
        self.progress.step(trainer.state.step, trainer.total, "step", "");
        while trainer.state.step < trainer.total && !self.has_lost_patience(&trainer.state) {
            if self.progress.stop_requested() {
                trainer.save()?;
                let (step, total) = (trainer.state.step, trainer.total);
                return Err(Error::interrupted(format!("stopped on request after step {step} of {total}")));
            }
            tokens += trainer.step(&begun)?;
            trainer.measure()?;
            let step = trainer.state.step;
            if step < trainer.total && cadence.is_due(step, self.runtime) {
                trainer.save()?;
                cadence = CheckpointCadence::since(step);
            }
        }
        trainer.keep_best()?;

        self.backbone.device().synchronize()?;
        self.progress.measure("train_seconds", begun.at.elapsed().as_secs_f64());
        self.progress.measure("tokens_per_second", begun.per_second(tokens));
        self.progress.measure("examples_per_second", begun.per_second(trainer.seen_since(&begun)));
        Ok(trainer.summary())
    }

    fn resume(&self, total: u64) -> Option<Checkpoint> {
        match self.checkpoint.as_ref()?.load() {
            Ok(state) => state.filter(|s| s.step <= total && s.loss.len() as u64 == s.step),
            Err(reason) => {
                self.progress.message(&format!("starts anew: there is a checkpoint, but {reason}"));
                None
            }
        }
    }
}

/// When this process began, and after how many optimiser steps.
struct Begun {
    at: Instant,
    step: u64,
}

impl Begun {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.at.elapsed().as_secs_f64().max(1e-9)
    }
}

/// A training under way.
struct Trainer<'a> {
    training: &'a Training<'a>,
    parameters: Vec<(String, Var)>,
    order: DataOrder,
    /// Optimiser steps of the whole training.
    total: u64,
    /// Those in which the learning rate rises.
    warmup: u64,
    optimiser: AdamW,
    state: TrainerState,
}

impl<'a> Trainer<'a> {
    fn new(training: &'a Training<'a>) -> Result<Self> {
        let parameters = training.adapter.parameters();
        if parameters.is_empty() {
            return Err(Error::input("the method has no trainable parameters")
                .help("use another adapter, such as `adapter = { kind = \"lora\" }`"));
        }
        if training.samples.is_empty() {
            return Err(Error::input("there are no training examples").help("check the task's split sizes"));
        }
        let spec = training.spec;
        let order = training.order();
        let total = training.steps(&order);
        let warmup = warmup_steps(spec.warmup, total);
        let [beta1, beta2] = spec.betas;
        let params = AdamWParams { beta1, beta2, eps: spec.eps, weight_decay: spec.weight_decay };
        let mut optimiser = AdamW::new(parameters.clone(), params)?;
        let mut state = TrainerState::default();
        if let Some(saved) = training.resume(total) {
            state.restore(&saved, &parameters, &mut optimiser)?;
            training.progress.message(&format!("continues after step {} of {total}", state.step));
        }
        Ok(Self { training, parameters, order, total, warmup, optimiser, state })
    }

    /// The learning rate of a step, counted from 0.
    fn rate(&self, step: u64) -> f64 {
        let spec = self.training.spec;
        spec.learning_rate * spec.schedule.factor(step, self.total, self.warmup)
    }

    /// Examples that this process saw, repetitions included.
    fn seen_since(&self, begun: &Begun) -> u64 {
        self.order.seen(self.state.step) - self.order.seen(begun.step)
    }

    /// One optimiser step; the tokens that the backbone read.
    fn step(&mut self, begun: &Begun) -> Result<u64> {
        let (training, step) = (self.training, self.state.step);
        let batch: Vec<&Sample> = self.order.batch(step).into_iter().map(|i| &training.samples[i]).collect();
        let mut result = training.gradients(&training.pack(&batch), step, &self.parameters)?;
        training.guard(&result, &self.state, &batch)?;
        let norm = clip_grad_norm(&mut result.gradients, training.spec.max_grad_norm)?;
        if !norm.is_finite() {
            return Err(diverged("the gradient is not finite", step, &batch));
        }
        training.progress.phase("norm");
        let rate = self.rate(step);
        self.optimiser.step(&result.gradients, rate)?;
        training.progress.phase("optimiser");
        self.state.step += 1;
        self.state.loss.push(result.loss as f32);
        self.state.labelled_tokens += result.labelled_tokens;
        let speed = begun.per_second(self.seen_since(begun));
        let note = format!("loss {:.3}, {speed:.1} examples/s", result.loss);
        training.progress.step(self.state.step, self.total, "step", &note);
        Ok(result.tokens)
    }

    /// Accuracy on the held-out samples, where it is due; the parameters are kept if they are the best so far.
    fn measure(&mut self) -> Result<()> {
        if self.training.dev_is_due(self.state.step, self.total) {
            self.state.dev.push(self.training.measure_dev(self.state.step)?);
            if self.training.spec.keep_best && self.state.measurements_since_best() == Some(0) {
                self.state.best = self.parameters.iter().map(|(_, p)| p.copy()).collect::<candle_core::Result<_>>()?;
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        match &self.training.checkpoint {
            Some(file) => file.save(&self.state.checkpoint(&self.parameters, &self.optimiser)?),
            None => Ok(()),
        }
    }

    /// Puts the best parameters back, where they were to be kept.
    fn keep_best(&self) -> Result<()> {
        for ((_, parameter), best) in self.parameters.iter().zip(&self.state.best) {
            parameter.set(best)?;
        }
        Ok(())
    }

    fn summary(self) -> TrainingSummary {
        let learning_rates = (0..self.state.step).map(|step| self.rate(step)).collect();
        let Self { training, parameters, order, state, .. } = self;
        let best = state.best_point().filter(|_| training.spec.keep_best);
        TrainingSummary {
            adapter: training.adapter_name.to_owned(),
            steps: state.step,
            examples: training.samples.len() as u64,
            examples_seen: order.seen(state.step),
            epochs: order.seen(state.step) as f64 / training.samples.len() as f64,
            batch_size: training.spec.batch_size as u64,
            learning_rate: training.spec.learning_rate,
            labelled_tokens: state.labelled_tokens,
            trainable_parameters: parameters.iter().map(|(_, p)| p.elem_count() as u64).sum(),
            best_step: best.map(|i| state.dev[i].step),
            learning_rates,
            loss: state.loss,
            dev: state.dev,
        }
    }
}

#[cfg(test)]
mod tests;
