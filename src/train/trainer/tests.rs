//! Trainings of a tiny decoder: what is learnt, resumed, kept, and refused.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use candle_core::{Tensor, Var};

use super::*;
use crate::{
    base::digest::Digest,
    engine::{Progress, Unwatched},
    eval::{classify, rank},
    models::{
        Adapter, AdapterSpec, Decoder,
        adapters::{self, Head, WithHead},
        load_decoder,
    },
    packing::{Answers, PackedBatch},
    train::{CheckpointFile, RuntimeOptions, TrainingLength, TrainingSpec, checkpoint_path},
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
