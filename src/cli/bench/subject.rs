//! A backbone that is measured, and the trainings of it.

use candle_core::Device as Opened;
use serde_json::{Map, Value, json};

use super::{
    bench_model,
    workload::{Task, Workload},
};
use crate::{
    base::{
        error::{Error, Result},
        machine::{Device, peak_memory},
    },
    cli::bench::bench_args::BenchModelArgs,
    engine::Progress,
    models::{
        self, Adapter, AdapterSpec, Backbone, BackboneSpec,
        adapters::{Head, WithHead},
        device,
    },
    packing::Sample,
    train::{RuntimeOptions, Schedule, Training, TrainingLength, TrainingSpec},
};

/// Seed of the adapter, the order of the data and dropout.
pub const SEED: u64 = 0;

/// What is trained on top of the backbone.
#[derive(Clone, Copy)]
pub struct Method {
    /// Of the registry.
    pub kind: &'static str,
    pub rank: usize,
    pub virtual_tokens: usize,
}

impl Method {
    /// With usual options, but for the one that says how large it is.
    fn spec(self) -> Result<AdapterSpec> {
        let spec: AdapterSpec = serde_json::from_value(json!({ "kind": self.kind }))?;
        Ok(match spec.size() {
            Some(("rank", _)) => spec.with_size(self.rank),
            Some(("virtual_tokens", _)) => spec.with_size(self.virtual_tokens),
            _ => spec,
        })
    }
}

pub struct Subject {
    pub spec: BackboneSpec,
    pub backbone: Box<dyn Backbone>,
}

impl Subject {
    /// As `--model` says, and its workload.
    ///
    /// # Errors
    /// If the workload has no tasks or can't be read, the model isn't understood, or the device can't be had.
    pub fn of(args: &BenchModelArgs) -> Result<(Self, Workload)> {
        let workload = Workload::read(&args.workload)?;
        if workload.tasks.is_empty() {
            return Err(Error::input(format!("{} has no tasks", args.workload.display())));
        }
        if args.random {
            return Ok((Self::drawn(bench_model::drawn(&args.model, args.dtype, None)?, args.device)?, workload));
        }
        let (spec, files) = bench_model::stored(&args.model, args.dtype)?;
        let backbone = models::load(&spec, &files, &device::open(args.device)?)?;
        Ok((Self { spec, backbone }, workload))
    }

    /// # Errors
    /// If the configuration isn't understood, or the device can't be had.
    pub fn drawn(spec: BackboneSpec, device: Device) -> Result<Self> {
        let backbone = models::load_random(&spec, &device::open(device)?)?;
        Ok(Self { spec, backbone })
    }

    pub fn device(&self) -> &Opened {
        self.backbone.device()
    }

    /// # Errors
    /// If the family isn't known, or the adapter doesn't fit the backbone.
    pub fn adapter(&self, method: Method, task: &Task) -> Result<Box<dyn Adapter>> {
        let spec = method.spec()?.completed(models::usual_targets(&self.spec.family)?);
        let adapter = spec.create(self.backbone.as_ref(), SEED, None)?;
        if !models::is_encoder(&self.spec.family)? {
            return Ok(adapter);
        }
        let head = Head::new(task.labels.len(), self.backbone.as_ref(), SEED)?;
        Ok(Box::new(WithHead { adapter, head }))
    }

    /// The workload's training prompts, over and over, for so many steps.
    pub fn samples(&self, task: &Task, batch: usize, steps: u64) -> Vec<Sample> {
        let lengths: Vec<usize> = task.train.iter().copied().cycle().take(batch * steps as usize).collect();
        task.samples(&lengths, self.backbone.dims().vocab)
    }

    /// Trains and returns the losses, one for each step.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train(
        &self,
        task: &Task,
        adapter: &dyn Adapter,
        samples: &[Sample],
        batch: usize,
        steps: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<f32>> {
        let spec = TrainingSpec {
            batch_size: batch,
            length: TrainingLength::Steps(steps),
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            warmup: 0.0,
            ..TrainingSpec::default()
        };
        let training = Training {
            backbone: self.backbone.as_ref(),
            adapter,
            adapter_name: "bench",
            samples,
            dev: &[],
            answers: &task.answers(),
            spec: &spec,
            runtime: &RuntimeOptions::default(),
            seed: SEED,
            checkpoint: None,
            progress,
        };
        Ok(training.run()?.loss)
    }

    /// Tokens of an example as it is read by itself.
    pub fn tokens(&self, task: &Task, sample: &Sample) -> usize {
        let answer = if self.backbone.is_causal() { task.labels[sample.label as usize].len() + 1 } else { 0 };
        sample.prompt.len() + answer
    }

    /// What was computed where, and the memory that it took so far.
    ///
    /// # Errors
    /// If the device doesn't tell its name.
    pub fn line(&self, args: &BenchModelArgs, what: &str, figures: Value) -> Result<Value> {
        let mut line = json!({
            "program": "emopipe", "what": what, "model": args.model, "method": args.method,
            "workload": args.workload.file_stem().map(|s| s.to_string_lossy()),
            "device": args.device.name(), "device_name": device::name(self.device())?, "dtype": self.spec.dtype.name(),
            "threads": rayon::current_num_threads(),
        });
        if let (Value::Object(line), Value::Object(figures)) = (&mut line, figures) {
            line.extend(figures);
            line.insert("peak_memory_mib".into(), peak_memory().map(|bytes| bytes >> 20).into());
            line.extend(device_memory(self.device()));
        }
        Ok(line)
    }
}

/// The peak of a device's memory in MiB; empty where it has none of its own.
pub fn device_memory(device: &Opened) -> Map<String, Value> {
    let peak = device::peak(device).into_iter();
    peak.flat_map(|peak| {
        [
            ("peak_device_memory_mib".to_owned(), (peak.used >> 20).into()),
            ("peak_device_reserved_mib".to_owned(), (peak.reserved >> 20).into()),
        ]
    })
    .collect()
}
