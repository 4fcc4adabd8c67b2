//! `bench`: what training and evaluation cost, as one JSON line.

mod workload;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use candle_core::{Device as Opened, Tensor};
use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};

use super::{
    Outcome,
    args::{BenchAnswer, BenchArgs, BenchCommand, BenchMethod, BenchModelArgs},
    print,
};
use crate::{
    engine::{Device, Progress},
    error::{Error, IoAt, Result},
    eval::{classify::classify, generate::generate, rank},
    models::{
        self, Adapter, AdapterSpec, Backbone, BackboneSpec, ConfigTable, Dtype, adapters,
        adapters::{Head, LoraSpec, PrefixInit, PrefixTuningSpec, UntrainedSpec, WithHead},
        device,
    },
    train::{Length, Safeguards, Sample, Schedule, Training, TrainingSpec, peak_memory},
};
use workload::{Task, Workload};

/// Configurations that `--model` knows by name.
const SHAPES: &[(&str, &str)] = &[
    ("smollm2-135m", include_str!("../../benches/models/smollm2-135m.json")),
    ("qwen2.5-0.5b", include_str!("../../benches/models/qwen2.5-0.5b.json")),
    ("chatglm2-6b", include_str!("../../benches/models/chatglm2-6b.json")),
    ("minilm-l6", include_str!("../../benches/models/minilm-l6.json")),
];

/// Seed of the adapter, the order of the data and dropout.
const SEED: u64 = 0;

pub fn bench(args: &BenchArgs) -> Outcome {
    let line = match &args.what {
        BenchCommand::Workload { artifacts } => {
            serde_json::to_value(Workload::of_artifacts(artifacts)?).map_err(Error::from)?
        }
        BenchCommand::Train { model, batch, steps, warmup } => {
            on_threads(model.threads, || train(model, *batch, *steps, *warmup))?
        }
        BenchCommand::Evaluate { model, answer, examples, longest } => {
            on_threads(model.threads, || evaluate(model, *answer, *examples, *longest))?
        }
        BenchCommand::Matmul { device, dtype, size, repeats } => matmul(*device, *dtype, *size, *repeats)?,
    };
    print(&format!("{line}\n"));
    Ok(())
}

fn on_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    pool.build().map_err(|e| Error::environment(format!("can't start threads: {e}")))?.install(work)
}

/// The training loop itself, `steps` steps of `batch` examples from each task in turn.
fn train(args: &BenchModelArgs, batch: usize, steps: u64, warmup: u64) -> Result<Value> {
    let bench = Bench::new(args)?;
    let mut seconds = Vec::new();
    let (mut tokens, mut computed, mut loss, mut processor) = (0, 0.0, 0.0, 0.0);
    for (i, task) in bench.workload.tasks.iter().enumerate() {
        let lengths: Vec<usize> = task.train.iter().copied().cycle().take(batch * steps as usize).collect();
        let samples = task.samples(&lengths, bench.backbone.dims().vocab);
        let adapter = bench.adapter(task)?;
        if i == 0 && warmup > 0 {
            bench.steps(task, adapter.as_ref(), &samples, batch, warmup, &bench.clock())?;
        }
        let clock = bench.clock();
        let before = processor_seconds();
        let last = bench.steps(task, adapter.as_ref(), &samples, batch, steps, &clock)?;
        loss = last.map_or(f64::NAN, f64::from);
        processor += since(before);
        seconds.extend(clock.laps());
        computed += clock.measured("tokens_per_second") * clock.measured("train_seconds");
        tokens += samples.iter().map(|s| bench.tokens(task, s)).sum::<usize>();
    }
    let total: f64 = seconds.iter().sum();
    let trainable: usize =
        bench.adapter(&bench.workload.tasks[0])?.parameters().iter().map(|(_, p)| p.elem_count()).sum();
    let examples = seconds.len() * batch;
    bench.line(
        "train",
        json!({
            "batch": batch, "steps": seconds.len(), "trainable": trainable,
            "examples_per_s": rate(examples as f64, total), "tokens_per_s": rate(tokens as f64, total),
            "computed_tokens_per_s": rate(computed, total), "examples_per_processor_s": rate(examples as f64, processor), "median_step_s": median(&mut seconds), "loss": loss,
        }),
    )
}

/// What an evaluation computes: `examples` test prompts of each task.
fn evaluate(args: &BenchModelArgs, answer: BenchAnswer, examples: usize, longest: usize) -> Result<Value> {
    let bench = Bench::new(args)?;
    let vocab = bench.backbone.dims().vocab;
    let (mut count, mut tokens, mut seconds, mut processor) = (0, 0, 0.0, 0.0);
    for (i, task) in bench.workload.tasks.iter().enumerate() {
        let lengths: Vec<usize> = task.test.iter().copied().cycle().take(examples).collect();
        let samples = task.samples(&lengths, vocab);
        let adapter = bench.adapter(task)?;
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let run = |prompts: &[&[u32]]| bench.answer(answer, task, adapter.as_ref(), prompts, longest);
        if i == 0 {
            run(&prompts[..1])?;
            bench.backbone.device().synchronize()?;
        }
        let (begun, before) = (Instant::now(), processor_seconds());
        run(&prompts)?;
        bench.backbone.device().synchronize()?;
        processor += since(before);
        seconds += begun.elapsed().as_secs_f64();
        count += samples.len();
        tokens += lengths.iter().sum::<usize>();
    }
    let answer = format!("{answer:?}").to_lowercase();
    bench.line(
        "evaluate",
        json!({
            "answer": answer, "examples": count,
            "examples_per_s": rate(count as f64, seconds), "tokens_per_s": rate(tokens as f64, seconds),
            "examples_per_processor_s": rate(count as f64, processor),
        }),
    )
}

/// The ceiling that shares of arithmetic are taken of.
fn matmul(device: Device, dtype: Dtype, size: usize, repeats: usize) -> Result<Value> {
    let opened = device::open(device)?;
    let matrix = || Tensor::randn(0f32, 1.0, (size, size), &Opened::Cpu)?.to_dtype(dtype.into())?.to_device(&opened);
    let (a, b) = (matrix()?, matrix()?);
    let products = |count: usize| {
        (0..count).try_for_each(|_| a.matmul(&b).map(drop))?;
        opened.synchronize()
    };
    products(1)?;
    let begun = Instant::now();
    products(repeats)?;
    let operations = 2.0 * (size as f64).powi(3) * repeats as f64;
    Ok(json!({
        "program": "emopipe", "what": "matmul", "device": device.name(), "device_name": device::name(&opened)?,
        "dtype": dtype.name(), "size": size, "tflops": rate(operations / 1e12, begun.elapsed().as_secs_f64()),
    }))
}

struct Bench<'a> {
    args: &'a BenchModelArgs,
    spec: BackboneSpec,
    backbone: Box<dyn Backbone>,
    workload: Workload,
}

impl<'a> Bench<'a> {
    fn new(args: &'a BenchModelArgs) -> Result<Self> {
        let workload = Workload::read(&args.workload)?;
        if workload.tasks.is_empty() {
            return Err(Error::input(format!("{} has no tasks", args.workload.display())));
        }
        let (spec, files) = model(args)?;
        let device = device::open(args.device)?;
        let backbone = match files {
            None => models::load_random(&spec, &device)?,
            Some(files) => models::load(&spec, &files, &device)?,
        };
        Ok(Self { args, spec, backbone, workload })
    }

    fn adapter(&self, task: &Task) -> Result<Box<dyn Adapter>> {
        let spec = match self.args.method {
            BenchMethod::None => AdapterSpec::None(UntrainedSpec {}),
            BenchMethod::Lora => AdapterSpec::Lora(LoraSpec {
                rank: self.args.rank,
                alpha: 32.0,
                dropout: 0.1,
                target_modules: models::usual_targets(&self.spec.family)?.iter().map(|t| (*t).to_owned()).collect(),
            }),
            BenchMethod::Prefix => AdapterSpec::Ptuning2(PrefixTuningSpec {
                virtual_tokens: self.args.virtual_tokens,
                projection: None,
                init: PrefixInit::Normal { std: 1.0 },
            }),
        };
        let adapter = adapters::create(&spec, self.backbone.as_ref(), SEED, None)?;
        if !self.needs_head()? {
            return Ok(adapter);
        }
        let head = Head::new(task.labels.len(), self.backbone.as_ref(), SEED)?;
        Ok(Box::new(WithHead { adapter, head }))
    }

    fn needs_head(&self) -> Result<bool> {
        models::is_encoder(&self.spec.family)
    }

    fn clock(&self) -> Clock {
        Clock { device: self.backbone.device().clone(), marks: Mutex::default(), measured: Mutex::default() }
    }

    /// Trains and returns the last loss.
    fn steps(
        &self,
        task: &Task,
        adapter: &dyn Adapter,
        samples: &[Sample],
        batch: usize,
        steps: u64,
        clock: &Clock,
    ) -> Result<Option<f32>> {
        let spec = TrainingSpec {
            batch_size: batch,
            length: Length::Steps(steps),
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            warmup: 0.0,
            ..TrainingSpec::default()
        };
        let summary = Training {
            backbone: self.backbone.as_ref(),
            adapter,
            adapter_name: "bench",
            samples,
            dev: &[],
            answers: &task.answers(),
            spec: &spec,
            safeguards: &Safeguards::default(),
            seed: SEED,
            checkpoint: None,
            progress: clock,
        }
        .run()?;
        Ok(summary.loss.last().copied())
    }

    /// Tokens of an example as it is read by itself.
    fn tokens(&self, task: &Task, sample: &Sample) -> usize {
        let answer = if self.backbone.is_causal() { task.labels[sample.label as usize].len() + 1 } else { 0 };
        sample.prompt.len() + answer
    }

    fn answer(
        &self,
        answer: BenchAnswer,
        task: &Task,
        adapter: &dyn Adapter,
        prompts: &[&[u32]],
        longest: usize,
    ) -> Result<()> {
        let backbone = self.backbone.as_ref();
        let go_on = |_| Ok(());
        match answer {
            BenchAnswer::Rank => rank::rank(backbone, adapter, prompts, &task.answers(), go_on).map(drop),
            // No id stops it: every answer has the full length.
            BenchAnswer::Generate => generate(backbone, adapter, prompts, u32::MAX, longest, go_on).map(drop),
            BenchAnswer::Head => {
                let head = Head::new(task.labels.len(), backbone, SEED)?;
                classify(backbone, adapter, &head, prompts, go_on).map(drop)
            }
        }
    }

    fn line(&self, what: &str, figures: Value) -> Result<Value> {
        let device = self.backbone.device();
        let mut line = json!({
            "program": "emopipe", "what": what, "model": self.args.model, "method": self.args.method,
            "workload": self.args.workload.file_stem().map(|s| s.to_string_lossy()),
            "device": self.args.device.name(), "device_name": device::name(device)?, "dtype": self.spec.dtype.name(), "threads": rayon::current_num_threads(),
        });
        if let (Value::Object(line), Value::Object(figures)) = (&mut line, figures) {
            line.extend(figures);
            line.insert("peak_memory_mib".into(), peak_memory().map(|bytes| bytes >> 20).into());
            if let Some(peak) = device::peak(device) {
                line.insert("peak_device_memory_mib".into(), (peak.used >> 20).into());
                line.insert("peak_device_reserved_mib".into(), (peak.reserved >> 20).into());
            }
        }
        Ok(line)
    }
}

/// What to compute, and the files of its weights; without files they are drawn.
fn model(args: &BenchModelArgs) -> Result<(BackboneSpec, Option<BTreeMap<String, PathBuf>>)> {
    let path = Path::new(&args.model);
    let files = if args.random { None } else { Some(files(&args.model, path)?) };
    let named = SHAPES.iter().find(|(name, _)| *name == args.model);
    let config = match (&files, named) {
        (None, Some((_, text))) => config((*text).as_bytes(), &args.model)?,
        (None, None) => {
            let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
            config(&std::fs::read(&path).io_at("read", &path).map_err(|e| e.help(known()))?, &args.model)?
        }
        (Some(files), _) => match files.get("config.json") {
            Some(path) => config(&std::fs::read(path).io_at("read", path)?, &args.model)?,
            // A GGUF file brings its own, and those of llama's build are read.
            None => ConfigTable::new(),
        },
    };
    let family = match config.get("model_type").and_then(Value::as_str) {
        Some("chatglm") => "chatglm",
        Some("bert") => "bert",
        _ => "llama",
    };
    Ok((BackboneSpec { family: family.to_owned(), dtype: args.dtype, config }, files))
}

fn config(text: &[u8], model: &str) -> Result<ConfigTable> {
    serde_json::from_slice(text).map_err(|e| Error::input(format!("the configuration of {model}: {e}")))
}

fn known() -> String {
    let names: Vec<_> = SHAPES.iter().map(|(name, _)| *name).collect();
    format!("`--random` knows the shapes {}, and reads any config.json", names.join(", "))
}

/// The files of a folder, or one GGUF file.
fn files(model: &str, path: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entry = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), path));
    if path.is_file() {
        return Ok(entry(path.to_owned()).into_iter().collect());
    }
    let folder = std::fs::read_dir(path).io_at("read", path).map_err(|e| {
        if SHAPES.iter().any(|(name, _)| *name == model) {
            e.help("this is the name of a shape: add `--random`")
        } else {
            e.help("give a folder with weights, a GGUF file, or `--random`")
        }
    })?;
    Ok(folder.filter_map(|file| entry(file.ok()?.path())).collect())
}

/// Notes when each step was done, and what was measured.
struct Clock {
    device: Opened,
    marks: Mutex<Vec<Instant>>,
    measured: Mutex<BTreeMap<String, f64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    /// Seconds of each step.
    fn laps(&self) -> Vec<f64> {
        lock(&self.marks).windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect()
    }

    fn measured(&self, name: &str) -> f64 {
        lock(&self.measured).get(name).copied().unwrap_or(f64::NAN)
    }
}

impl Progress for Clock {
    fn step(&self, _: u64, _: u64, _: &str, _: &str) {
        // A device that fails now fails in the next step, too, which says so.
        let _ = self.device.synchronize();
        lock(&self.marks).push(Instant::now());
    }

    fn message(&self, _: &str) {}

    fn measure(&self, name: &str, value: f64) {
        lock(&self.measured).insert(name.to_owned(), value);
    }

    fn stop_requested(&self) -> bool {
        false
    }
}

fn since(before: Option<f64>) -> f64 {
    before.zip(processor_seconds()).map_or(f64::NAN, |(from, to)| to - from)
}

/// With three significant digits after the point.
fn rate(count: f64, seconds: f64) -> f64 {
    (count / seconds.max(1e-9) * 1000.0).round() / 1000.0
}

/// Processor seconds of this process's threads so far, where the system tells: on a machine with other work, they say more
/// than the clock.
fn processor_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some(threads.filter_map(|thread| nanoseconds(thread.ok()?)).sum::<f64>() / 1e9)
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
