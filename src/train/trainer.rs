//! The optimiser loop.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, CheckpointFile, RuntimeOptions, TrainingSpec,
    data_order::DataOrder,
    learning_rate::warmup_steps,
    optimizer::{AdamW, AdamWParams, AdamWState, clip_grad_norm, collect},
};
use crate::packing::{Answers, PackedBatch, Sample};
use crate::packing::{most_in_row, rows, shared_beginning};
use crate::{
    base::error::{Error, Result},
    engine::Progress,
    eval::{classify, rank},
    models::{Adapter, Backbone, Mode, sweep_buffers},
};

/// A forward pass is told from others by its step, and by the row in bits that no step reaches.
const ROW_OF_PASS: u32 = 40;

/// Steps whose median loss the spike guard compares with.
const SPIKE_WINDOW: usize = 16;

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

/// What was spent and how the loss fell: the content of `training.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSummary {
    /// `lora`, `ptuning2`, `lora+head`, ...
    pub adapter: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Distinct training examples.
    pub examples: u64,
    /// Training examples seen, repetitions included.
    pub examples_seen: u64,
    /// Passes over the examples; need not be whole.
    pub epochs: f64,
    /// Examples per optimiser step.
    pub batch_size: u64,
    /// At its peak.
    pub learning_rate: f64,
    /// Answer and end tokens that the loss was taken over (for a head: labels), repetitions included.
    pub labelled_tokens: u64,
    pub trainable_parameters: u64,
    /// Mean loss (nats per labelled token) of each optimiser step's batch, `[steps]`.
    pub loss: Vec<f32>,
    /// Learning rate of each optimiser step, `[steps]`.
    pub learning_rates: Vec<f64>,
    /// Accuracy on held-out examples, where it was asked for.
    pub dev: Vec<DevPoint>,
    /// The step whose parameters were kept, where the best on the dev split were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_step: Option<u64>,
}

/// Ranked (for a head: classified) answers on held-out examples after `step` optimiser steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevPoint {
    pub step: u64,
    pub n: u64,
    pub correct: u64,
}

impl Training<'_> {
    /// Trains to the end, from the checkpoint where there is one that fits.
    ///
    /// # Errors
    /// If the loss or the gradient isn't finite or the loss leaps ([`RuntimeOptions::max_loss_rise`]), naming the batch's
    /// examples; if the user asks to stop (the state is then in the checkpoint); if there is nothing to train.
    pub fn run(&self) -> Result<TrainingSummary> {
        let parameters = self.adapter.parameters();
        if parameters.is_empty() {
            return Err(Error::input("the method has no trainable parameters")
                .help("use another adapter, such as `adapter = { kind = \"lora\" }`"));
        }
        if self.samples.is_empty() {
            return Err(Error::input("there are no training examples").help("check the task's split sizes"));
        }
        let order = self.order();
        let total = self.steps(&order);
        let warmup = warmup_steps(self.spec.warmup, total);
        let rate = |step| self.spec.learning_rate * self.spec.schedule.factor(step, total, warmup);
        let mut optimiser = AdamW::new(
            parameters.clone(),
            AdamWParams {
                beta1: self.spec.betas[0],
                beta2: self.spec.betas[1],
                eps: self.spec.eps,
                weight_decay: self.spec.weight_decay,
            },
        )?;
        let mut course = TrainerState::default();
        if let Some(state) = self.resume(total) {
            course.restore(&state, &parameters, &mut optimiser)?;
            self.progress.message(&format!("continues after step {} of {total}", course.step));
        }

        let begun = Instant::now();
        let first_step = course.step;
        let mut saved = Saved { at: Instant::now(), step: course.step };
        let mut tokens = 0u64;
        self.progress.step(course.step, total, "step", "");
        while course.step < total && !self.has_lost_patience(&course) {
            if self.progress.stop_requested() {
                self.save(&course, &parameters, &optimiser)?;
                return Err(Error::interrupted(format!("stopped on request after step {} of {total}", course.step)));
            }
            let batch: Vec<&Sample> = order.batch(course.step).into_iter().map(|i| &self.samples[i]).collect();
            let mut step = self.gradients(&self.pack(&batch), course.step, &parameters)?;
            self.guard(&step, &course, &batch)?;
            let norm = clip_grad_norm(&mut step.gradients, self.spec.max_grad_norm)?;
            if !norm.is_finite() {
                return Err(diverged("the gradient is not finite", course.step, &batch));
            }
            self.progress.phase("norm");
            optimiser.step(&step.gradients, rate(course.step))?;
            self.progress.phase("optimiser");
            course.step += 1;
            course.loss.push(step.loss as f32);
            course.labelled_tokens += step.labelled_tokens;
            tokens += step.tokens;
            let seen = order.seen(course.step) - order.seen(first_step);
            let note = format!("loss {:.3}, {:.1} examples/s", step.loss, per_second(seen, begun));
            self.progress.step(course.step, total, "step", &note);
            if self.dev_is_due(course.step, total) {
                course.dev.push(self.measure_dev(course.step)?);
                if self.spec.keep_best && course.measurements_since_best() == Some(0) {
                    course.best = parameters.iter().map(|(_, p)| p.copy()).collect::<candle_core::Result<_>>()?;
                }
            }
            if course.step < total && saved.is_due(course.step, self.runtime) {
                self.save(&course, &parameters, &optimiser)?;
                saved = Saved { at: Instant::now(), step: course.step };
            }
        }

        for ((_, parameter), best) in parameters.iter().zip(&course.best) {
            parameter.set(best)?;
        }

        self.backbone.device().synchronize()?;
        self.progress.measure("train_seconds", begun.elapsed().as_secs_f64());
        self.progress.measure("tokens_per_second", per_second(tokens, begun));
        self.progress
            .measure("examples_per_second", per_second(order.seen(course.step) - order.seen(first_step), begun));
        Ok(TrainingSummary {
            adapter: self.adapter_name.to_owned(),
            steps: course.step,
            examples: self.samples.len() as u64,
            examples_seen: order.seen(course.step),
            epochs: order.seen(course.step) as f64 / self.samples.len() as f64,
            batch_size: self.spec.batch_size as u64,
            learning_rate: self.spec.learning_rate,
            labelled_tokens: course.labelled_tokens,
            trainable_parameters: parameters.iter().map(|(_, p)| p.elem_count() as u64).sum(),
            best_step: if self.spec.keep_best { course.best_point().map(|i| course.dev[i].step) } else { None },
            learning_rates: (0..course.step).map(rate).collect(),
            loss: course.loss,
            dev: course.dev,
        })
    }

    /// Tokens of the largest row that a training from the beginning computes at once, and its labelled ones.
    pub fn largest_row(&self) -> (usize, usize) {
        let order = self.order();
        let rows = (0..self.steps(&order)).flat_map(|step| {
            let batch: Vec<&Sample> = order.batch(step).into_iter().map(|i| &self.samples[i]).collect();
            self.pack(&batch).into_iter().map(|row| (row.tree.len(), row.targets.len()))
        });
        rows.max().unwrap_or_default()
    }

    fn order(&self) -> DataOrder {
        DataOrder { samples: self.samples.len(), batch_size: self.spec.batch_size, seed: self.seed }
    }

    fn steps(&self, order: &DataOrder) -> u64 {
        self.spec.length.steps(order.steps_per_epoch())
    }

    /// The batch as packed rows: one for each micro-batch, or several where a CPU has no use for a longer one.
    fn pack(&self, batch: &[&Sample]) -> Vec<PackedBatch> {
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

    /// Gradient of the mean over all labelled tokens of the batch: rows are weighted by their tokens, so that their number
    /// changes rounding and nothing else.
    fn gradients(&self, packed: &[PackedBatch], step: u64, parameters: &[(String, Var)]) -> Result<StepResult> {
        let head = self.adapter.head();
        let labelled: usize = packed.iter().map(|p| p.targets.len()).sum();
        let mut sum: Option<Vec<Tensor>> = None;
        let mut pending = Vec::with_capacity(packed.len());
        for (row, packed) in packed.iter().enumerate() {
            let pass = step | (row as u64) << ROW_OF_PASS;
            let mode = Mode::Train { seed: self.seed, pass, checkpointing: self.runtime.gradient_checkpointing };
            let nll = match head {
                Some(head) => {
                    let summaries = self.backbone.summaries(&packed.tree, &packed.leaves, self.adapter, mode)?;
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
            sweep_buffers();
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

    fn guard(
        &self,
        StepResult { loss, losses, .. }: &StepResult,
        course: &TrainerState,
        batch: &[&Sample],
    ) -> Result<()> {
        let loss = *loss;
        if !loss.is_finite() {
            return Err(diverged("the loss is not finite", course.step, &self.without_loss(losses, batch)));
        }
        let Some(start) = course.loss.len().checked_sub(SPIKE_WINDOW) else { return Ok(()) };
        let mut recent = course.loss[start..].to_vec();
        recent.sort_by(f32::total_cmp);
        let usual = f64::from(recent[SPIKE_WINDOW / 2]);
        if loss > usual + self.runtime.max_loss_rise {
            return Err(diverged(&format!("the loss leapt from about {usual:.3} to {loss:.3}"), course.step, batch));
        }
        Ok(())
    }

    fn dev_is_due(&self, step: u64, total: u64) -> bool {
        !self.dev.is_empty() && self.spec.dev_every_steps.is_some_and(|n| step.is_multiple_of(n) || step == total)
    }

    fn has_lost_patience(&self, course: &TrainerState) -> bool {
        let since = course.measurements_since_best();
        self.spec.patience.zip(since).is_some_and(|(patience, since)| since as u64 >= patience)
    }

    fn measure_dev(&self, step: u64) -> Result<DevPoint> {
        let scores = match self.adapter.head() {
            Some(head) => classify::classify(self.backbone, self.adapter, head, self.dev, |_| Ok(()))?,
            None => rank::rank(self.backbone, self.adapter, self.dev, self.answers, |_| Ok(()))?,
        };
        let correct = scores.iter().zip(self.dev).filter(|(s, sample)| rank::best(s) == sample.label as usize).count();
        let point = DevPoint { step, n: self.dev.len() as u64, correct: correct as u64 };
        self.progress.message(&format!("step {step}: {} of {} dev examples right", point.correct, point.n));
        Ok(point)
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

    fn save(&self, course: &TrainerState, parameters: &[(String, Var)], optimiser: &AdamW) -> Result<()> {
        let Some(file) = &self.checkpoint else { return Ok(()) };
        let AdamWState { steps, moments: mut tensors } = optimiser.state()?;
        tensors.extend(parameters.iter().map(|(name, p)| (adapter_key(name), p.as_tensor().clone())));
        tensors.extend(parameters.iter().zip(&course.best).map(|((name, _), best)| (best_key(name), best.clone())));
        file.save(&Checkpoint {
            step: course.step,
            optimiser_steps: steps,
            labelled_tokens: course.labelled_tokens,
            loss: course.loss.clone(),
            dev: course.dev.clone(),
            tensors,
        })
    }
}

struct StepResult {
    /// Mean over the labelled tokens.
    loss: f64,
    /// That of each labelled token, in the order of the samples.
    losses: Vec<f32>,
    gradients: Vec<Tensor>,
    labelled_tokens: u64,
    /// Tokens that the backbone read.
    tokens: u64,
}

/// How far a training has come, apart from the tensors.
#[derive(Default)]
struct TrainerState {
    step: u64,
    labelled_tokens: u64,
    loss: Vec<f32>,
    dev: Vec<DevPoint>,
    /// The parameters of the best measurement, where they are to be kept.
    best: Vec<Tensor>,
}

impl TrainerState {
    /// Index of the best measurement; of equal ones the first.
    fn best_point(&self) -> Option<usize> {
        (0..self.dev.len()).reduce(|best, i| if self.dev[i].correct > self.dev[best].correct { i } else { best })
    }

    fn measurements_since_best(&self) -> Option<usize> {
        self.best_point().map(|best| self.dev.len() - 1 - best)
    }

    fn restore(&mut self, state: &Checkpoint, parameters: &[(String, Var)], optimiser: &mut AdamW) -> Result<()> {
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

/// When the last checkpoint was written.
struct Saved {
    at: Instant,
    step: u64,
}

impl Saved {
    fn is_due(&self, step: u64, runtime: &RuntimeOptions) -> bool {
        match runtime.checkpoint_every_steps {
            Some(steps) => step - self.step >= steps,
            None => self.at.elapsed() >= Duration::from_secs(runtime.checkpoint_every_seconds),
        }
    }
}

fn diverged(what: &str, step: u64, batch: &[&Sample]) -> Error {
    let ids: Vec<&str> = batch.iter().map(|s| s.id.as_str()).collect();
    Error::input(format!("{what} at step {} with the examples {}", step + 1, ids.join(", "))).help(
        "lower the method's `learning_rate`, lengthen `warmup`, or look at these examples; \
         `max_loss_rise` sets how far the loss may leap",
    )
}

fn per_second(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::{
        base::digest::Digest,
        engine::Unwatched,
        models::{
            AdapterSpec, Decoder,
            adapters::{self, Head, WithHead},
            load_decoder,
        },
        train::{TrainingLength, checkpoint_path},
    };

    fn backbone() -> Decoder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        load_decoder("llama", &files.into(), &candle_core::Device::Cpu).unwrap()
    }

    fn lora() -> AdapterSpec {
        let spec = serde_json::json!({ "kind": "lora", "rank": 4, "alpha": 16.0, "dropout": 0.1,
            "target_modules": ["q_proj", "v_proj"] });
        serde_json::from_value(spec).unwrap()
    }

    fn ptuning2() -> AdapterSpec {
        let spec = serde_json::json!({ "kind": "ptuning2", "virtual_tokens": 5, "init_std": 0.3 });
        serde_json::from_value(spec).unwrap()
    }

    /// The label is in the sentence: token 100 + label.
    fn samples() -> Vec<Sample> {
        (0..14u32)
            .map(|i| Sample { id: format!("s{i}"), label: i % 2, prompt: vec![1, 7, 8, 30 + i, 100 + i % 2, 9] })
            .collect()
    }

    fn answers() -> Answers {
        Answers { labels: vec![vec![200, 201], vec![210]], end: 2 }
    }

    fn spec() -> TrainingSpec {
        TrainingSpec {
            batch_size: 4,
            length: TrainingLength::Steps(6),
            learning_rate: 5e-3,
            warmup: 2.0,
            ..Default::default()
        }
    }

    /// Asks to stop once `limit` steps are done.
    struct StopAfter {
        limit: u64,
        done: AtomicU64,
    }

    impl Progress for StopAfter {
        fn step(&self, done: u64, _: u64, _: &str, _: &str) {
            self.done.store(done, Ordering::Relaxed);
        }
        fn message(&self, _: &str) {}
        fn measure(&self, _: &str, _: f64) {}
        fn stop_requested(&self) -> bool {
            self.done.load(Ordering::Relaxed) >= self.limit
        }
    }

    struct Case {
        backbone: Decoder,
        samples: Vec<Sample>,
        answers: Answers,
        spec: TrainingSpec,
        runtime: RuntimeOptions,
    }

    impl Case {
        fn new(spec: TrainingSpec) -> Self {
            let runtime = RuntimeOptions::default();
            Self { backbone: backbone(), samples: samples(), answers: answers(), spec, runtime }
        }

        /// The saved adapter and the summary.
        fn train(
            &self,
            adapter: &AdapterSpec,
            checkpoint: Option<PathBuf>,
            progress: &dyn Progress,
        ) -> Result<(Vec<u8>, TrainingSummary)> {
            self.train_in_place(adapter.create(&self.backbone, 1, None)?.as_ref(), checkpoint, progress)
        }

        fn train_in_place(
            &self,
            adapter: &dyn Adapter,
            checkpoint: Option<PathBuf>,
            progress: &dyn Progress,
        ) -> Result<(Vec<u8>, TrainingSummary)> {
            let training = Training {
                backbone: &self.backbone,
                adapter,
                adapter_name: "tiny",
                samples: &self.samples,
                dev: &[],
                answers: &self.answers,
                spec: &self.spec,
                runtime: &self.runtime,
                seed: 1,
                checkpoint: checkpoint.map(|path| CheckpointFile { path, fingerprint: Digest::of(b"job") }),
                progress,
            };
            let summary = training.run()?;
            Ok((adapter.save("tiny")?.weights, summary))
        }
    }

    #[test]
    fn the_loss_falls() {
        let case = Case::new(TrainingSpec { length: TrainingLength::Epochs(12.0), learning_rate: 5e-2, ..spec() });
        for adapter in [lora(), ptuning2()] {
            let (_, summary) = case.train(&adapter, None, &Unwatched).unwrap();
            let (first, last) = (summary.loss[0], summary.loss[summary.loss.len() - 1]);
            assert!(last < 0.9 * first, "{first} -> {last}");
            assert_eq!((summary.steps, summary.examples, summary.examples_seen), (48, 14, 12 * 14));
            assert_eq!(summary.labelled_tokens, 12 * (7 * 3 + 7 * 2));
        }
    }

    #[test]
    fn a_resumed_training_ends_in_the_same_bytes() {
        for adapter in [lora(), ptuning2()] {
            let case = Case::new(spec());
            let (straight, summary) = case.train(&adapter, None, &Unwatched).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = checkpoint_path(folder.path());
            let stop = StopAfter { limit: 3, done: AtomicU64::new(0) };
            let error = case.train(&adapter, Some(path.clone()), &stop).unwrap_err();
            assert_eq!(error.category, crate::base::error::Category::Interrupted);
            assert!(path.exists());
            let resumed = case.train(&adapter, Some(path), &Unwatched).unwrap();
            assert_eq!(resumed.1, summary);
            assert!(resumed.0 == straight, "{adapter:?} differs after a stop");
        }
    }

    /// The adapter of `spec` with a fresh head for the two labels.
    fn with_head(spec: &AdapterSpec, case: &Case) -> WithHead {
        let head = Head::new(2, &case.backbone, 1).unwrap();
        WithHead { adapter: spec.create(&case.backbone, 1, None).unwrap(), head }
    }

    fn heads() -> [AdapterSpec; 3] {
        [lora(), ptuning2(), adapters::UntrainedOptions {}.into()]
    }

    #[test]
    fn a_head_learns_the_labels_with_an_adapter_or_alone() {
        let case = Case::new(TrainingSpec { length: TrainingLength::Epochs(30.0), learning_rate: 5e-2, ..spec() });
        for adapter in heads() {
            let trained = with_head(&adapter, &case);
            let values = |adapter: &dyn Adapter| -> Vec<(String, Vec<f32>)> {
                let flat = |v: &Var| v.flatten_all().unwrap().to_vec1().unwrap();
                adapter.parameters().iter().map(|(name, v)| (name.clone(), flat(v))).collect()
            };
            let before = values(&trained);
            let (_, summary) = case.train_in_place(&trained, None, &Unwatched).unwrap();
            let last = summary.loss[summary.loss.len() - 1];
            assert!(last < 0.3, "{adapter:?}: {} -> {last}", summary.loss[0]);
            assert_eq!(summary.labelled_tokens, 30 * 14);
            for ((name, before), (_, after)) in before.iter().zip(values(&trained)) {
                assert_ne!(*before, after, "{name} is trained, too");
            }
            let saved = trained.save("tiny").unwrap();
            let loaded = adapters::load(&saved.config, &saved.weights, &case.backbone).unwrap();
            let head = loaded.head().unwrap();
            let scores = classify::classify(&case.backbone, loaded.as_ref(), head, &case.samples, |_| Ok(())).unwrap();
            for (scores, sample) in scores.iter().zip(&case.samples) {
                assert_eq!(rank::best(scores), sample.label as usize, "{adapter:?}: {}", sample.id);
            }
        }
    }

    #[test]
    fn a_head_resumes_exactly() {
        for adapter in heads() {
            let case = Case::new(spec());
            let straight = case.train_in_place(&with_head(&adapter, &case), None, &Unwatched).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = checkpoint_path(folder.path());
            let stop = StopAfter { limit: 3, done: AtomicU64::new(0) };
            case.train_in_place(&with_head(&adapter, &case), Some(path.clone()), &stop).unwrap_err();
            let resumed = case.train_in_place(&with_head(&adapter, &case), Some(path), &Unwatched).unwrap();
            assert!(resumed == straight, "{adapter:?} differs after a stop");
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_ignored() {
        let case = Case::new(spec());
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_path(folder.path());
        std::fs::write(&path, b"not a checkpoint, but long enough to hold a digest").unwrap();
        let fresh = case.train(&lora(), None, &Unwatched).unwrap();
        assert_eq!(case.train(&lora(), Some(path), &Unwatched).unwrap(), fresh);
    }

    #[test]
    fn accumulation_is_the_same_gradient() {
        let plain = TrainingSpec { length: TrainingLength::Steps(3), ..spec() };
        let no_dropout = ptuning2();
        let (_, one) = Case::new(plain.clone()).train(&no_dropout, None, &Unwatched).unwrap();
        let (_, four) = Case::new(TrainingSpec { gradient_accumulation_steps: 3, ..plain })
            .train(&no_dropout, None, &Unwatched)
            .unwrap();
        for (a, b) in one.loss.iter().zip(&four.loss) {
            assert!((a - b).abs() < 1e-5, "{:?} {:?}", one.loss, four.loss);
        }
    }

    #[test]
    fn a_long_batch_is_several_rows_with_the_same_gradient() {
        let mut case = Case::new(spec());
        for (sample, i) in case.samples.iter_mut().zip(0..) {
            sample.prompt.splice(3..3, (0..80 + i).map(|j| 10 + (7 * j + i) % 200));
        }
        let adapter = ptuning2().create(&case.backbone, 1, None).unwrap();
        let training = Training {
            backbone: &case.backbone,
            adapter: adapter.as_ref(),
            adapter_name: "tiny",
            samples: &case.samples,
            dev: &[],
            answers: &case.answers,
            spec: &case.spec,
            runtime: &case.runtime,
            seed: 1,
            checkpoint: None,
            progress: &Unwatched,
        };
        let batch: Vec<&Sample> = case.samples.iter().collect();
        let rows = training.pack(&batch);
        assert_eq!(rows.len(), 2);
        let whole = PackedBatch::new(&batch, &case.answers);
        let [one, two] =
            [&[whole], rows.as_slice()].map(|packed| training.gradients(packed, 0, &adapter.parameters()).unwrap());
        assert!((one.loss - two.loss).abs() < 1e-5 * one.loss, "{} {}", one.loss, two.loss);
        for (one, two) in one.gradients.iter().zip(&two.gradients) {
            let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            let (difference, size) = (norm(&(one - two).unwrap()), norm(one));
            assert!(size > 0.0 && difference < 1e-5 * size, "{difference} of {size}");
        }
    }

    #[test]
    fn checkpointing_changes_no_byte() {
        for adapter in [lora(), ptuning2()] {
            let mut case = Case::new(spec());
            let plain = case.train(&adapter, None, &Unwatched).unwrap();
            case.runtime.gradient_checkpointing = true;
            assert!(case.train(&adapter, None, &Unwatched).unwrap() == plain, "{adapter:?}");
        }
    }

    #[test]
    fn divergence_names_its_examples() {
        let case = Case::new(TrainingSpec { learning_rate: 1e300, warmup: 0.0, ..spec() });
        let error = case.train(&lora(), None, &Unwatched).unwrap_err();
        assert!(error.message.contains("not finite") && error.message.contains("examples s"), "{error}");
        assert!(error.help.unwrap().contains("learning_rate"));
    }

    #[test]
    fn a_leaping_loss_stops_the_training() {
        let mut case = Case::new(TrainingSpec { length: TrainingLength::Steps(60), learning_rate: 2e-2, ..spec() });
        case.runtime.max_loss_rise = 1e-3;
        let error = case.train(&lora(), None, &Unwatched).unwrap_err();
        assert!(error.message.contains("leapt"), "{error}");
    }

    /// Trains with the first samples as dev split; the saved adapter and the summary.
    fn train_with_dev(
        case: &Case,
        checkpoint: Option<PathBuf>,
        progress: &dyn Progress,
    ) -> Result<(Vec<u8>, TrainingSummary)> {
        let adapter = lora().create(&case.backbone, 1, None)?;
        let training = Training {
            backbone: &case.backbone,
            adapter: adapter.as_ref(),
            adapter_name: "lora",
            samples: &case.samples,
            dev: &case.samples[..5],
            answers: &case.answers,
            spec: &case.spec,
            runtime: &case.runtime,
            seed: 1,
            checkpoint: checkpoint.map(|path| CheckpointFile { path, fingerprint: Digest::of(b"job") }),
            progress,
        };
        let summary = training.run()?;
        Ok((adapter.save("tiny")?.weights, summary))
    }

    #[test]
    fn dev_points_enter_the_summary() {
        let case = Case::new(TrainingSpec { dev_every_steps: Some(4), ..spec() });
        let (_, summary) = train_with_dev(&case, None, &Unwatched).unwrap();
        assert_eq!(summary.dev.iter().map(|p| (p.step, p.n)).collect::<Vec<_>>(), [(4, 5), (6, 5)]);
        assert_eq!(summary.best_step, None);
    }

    #[test]
    fn the_best_parameters_are_those_of_a_training_that_ends_there() {
        let spec = TrainingSpec {
            dev_every_steps: Some(1),
            keep_best: true,
            schedule: crate::train::Schedule::Constant,
            learning_rate: 5e-2,
            length: TrainingLength::Steps(12),
            ..spec()
        };
        let case = Case::new(spec.clone());
        let (kept, summary) = train_with_dev(&case, None, &Unwatched).unwrap();
        let best = summary.best_step.unwrap();
        let correct = |step: u64| summary.dev[step as usize - 1].correct;
        assert!((1..best).all(|s| correct(s) < correct(best)) && (best..=12).all(|s| correct(s) <= correct(best)));
        assert!(best < 12, "the last step is the best: nothing was shown; {:?}", summary.dev);
        let short = TrainingSpec { length: TrainingLength::Steps(best), keep_best: false, ..spec.clone() };
        assert!(train_with_dev(&Case::new(short), None, &Unwatched).unwrap().0 == kept);

        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint_path(folder.path());
        let stop = StopAfter { limit: best + 1, done: AtomicU64::new(0) };
        train_with_dev(&case, Some(path.clone()), &stop).unwrap_err();
        assert!(train_with_dev(&case, Some(path), &Unwatched).unwrap() == (kept, summary.clone()));

        let patient = Case::new(TrainingSpec { patience: Some(1), ..spec });
        let (_, stopped) = train_with_dev(&patient, None, &Unwatched).unwrap();
        let first_lull = (2..=12).find(|s| (1..*s).any(|t| correct(t) >= correct(*s))).unwrap();
        assert_eq!((stopped.steps, stopped.loss.len() as u64), (first_lull, first_lull));
    }
}
