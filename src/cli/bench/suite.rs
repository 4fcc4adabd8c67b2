//! `bench suite`: all figures of a decoder on a device from one process, a JSON line for each piece of work as it is done.

use std::{cell::OnceCell, collections::BTreeMap, path::PathBuf, time::Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    bench_model,
    clock::{Clock, Lap},
    figures::{median, rate},
    products,
    subject::{Method, Subject, device_memory},
    workload::{Task, Workload},
};
use crate::{
    base::{
        error::{Error, Result},
        machine::Device,
    },
    cli::args::{at_least_one, device, dtype, named_path},
    engine::Unwatched,
    models::{self, Adapter, BackboneSpec, Dims, Dtype, device as devices},
};

/// Steps that are done before a profiler looks.
const WARMUP: u64 = 2;

/// Steps that must be the same bits when they are done again.
const SAME_STEPS: u64 = 2;

/// Products that are timed as one.
const PRODUCTS: usize = 20;

#[derive(Args)]
pub struct SuiteArgs {
    /// A known shape or a config.json; weights are drawn.
    #[arg(long)]
    model: String,
    /// Layers, in place of the shape's own number.
    #[arg(long, value_parser = at_least_one)]
    layers: Option<usize>,
    /// What computes.
    #[arg(long, default_value = "cpu", value_parser = device)]
    device: Device,
    /// Number format of the frozen matrices.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    dtype: Dtype,
    /// A workload with a name, as `bench workload` writes it; its first task is trained.
    #[arg(long, required = true, value_name = "NAME=FILE", value_parser = named_path)]
    workload: Vec<(String, PathBuf)>,
    /// Rank of LoRA.
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// Virtual tokens of a prefix.
    #[arg(long, default_value_t = 32)]
    virtual_tokens: usize,
    /// Examples per step.
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    batch: usize,
    /// Steps that are measured, after the same ones for warm-up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Rows of the layers' products.
    #[arg(long, value_delimiter = ',', default_value = "514,640,1176,8208")]
    rows: Vec<usize>,
    /// Rows and columns of the matrices whose product is the ceiling.
    #[arg(long, default_value_t = 8192, value_parser = at_least_one)]
    size: usize,
    /// Only these pieces of work; `--list` names them.
    #[arg(long, value_name = "PIECE", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these.
    #[arg(long, value_name = "PIECE", value_delimiter = ',')]
    skip: Vec<String>,
    /// Begin no piece after so many seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Name the pieces, and do none.
    #[arg(long)]
    list: bool,
    /// Threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
}

/// One piece of work.
enum Piece {
    Ceiling,
    /// The products of a layer with so many rows.
    Products(usize),
    /// Training on the workload at this place.
    Train(usize, &'static str),
    /// The same steps twice.
    Same(&'static str),
    /// One step for a profiler, which has to be asked for.
    Profile(usize, &'static str),
}

/// Names in pieces, and kinds of adapters.
const METHODS: [(&str, &str); 2] = [("lora", "lora"), ("prefix", "ptuning2")];

/// All pieces with their names, in the order in which they tell most.
fn pieces(args: &SuiteArgs) -> Vec<(String, Piece)> {
    let mut pieces = vec![("ceiling".to_owned(), Piece::Ceiling)];
    pieces.extend(args.rows.iter().map(|rows| (format!("products-{rows}"), Piece::Products(*rows))));
    let workloads = || args.workload.iter().enumerate();
    for (i, (workload, _)) in workloads() {
        pieces.extend(METHODS.map(|(name, method)| (format!("train-{workload}-{name}"), Piece::Train(i, method))));
    }
    pieces.extend(METHODS.map(|(name, method)| (format!("same-{name}"), Piece::Same(method))));
    for (i, (workload, _)) in workloads() {
        pieces.extend(METHODS.map(|(name, method)| (format!("profile-{workload}-{name}"), Piece::Profile(i, method))));
    }
    pieces
}

fn chosen(args: &SuiteArgs) -> Result<Vec<(String, Piece)>> {
    let all = pieces(args);
    if let Some(unknown) = args.only.iter().chain(&args.skip).find(|name| !all.iter().any(|(n, _)| n == *name)) {
        return Err(Error::input(format!("there is no piece of work `{unknown}`")).help("`--list` names them"));
    }
    let is_wanted = |(name, piece): &(String, Piece)| {
        let asked = args.only.contains(name) || (args.only.is_empty() && !matches!(piece, Piece::Profile(..)));
        asked && !args.skip.contains(name)
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Shows a line for each piece of work, also for one that fails.
///
/// # Errors
/// If nothing can be measured at all; at the end, if a piece failed.
pub fn suite(args: &SuiteArgs, show: impl Fn(&Value)) -> Result<()> {
    let begun = Instant::now();
    let pieces = chosen(args)?;
    if args.list {
        pieces.iter().for_each(|(name, _)| show(&name.as_str().into()));
        return Ok(());
    }
    let suite = Suite::new(args)?;
    let device = devices::open(args.device)?;
    let mut failed = Vec::new();
    for (name, piece) in &pieces {
        if args.seconds.is_some_and(|limit| begun.elapsed().as_secs_f64() >= limit) {
            break;
        }
        let mut line = json!({
            "program": "emopipe", "piece": name, "device": args.device.name(), "device_name": devices::name(&device)?,
            "model": args.model, "dtype": args.dtype.name(),
        });
        let figures = devices::forget_peak(&device).and_then(|()| suite.measure(piece));
        if let Value::Object(line) = &mut line {
            line.extend(figures.unwrap_or_else(|e| {
                failed.push(name.clone());
                Map::from_iter([("error".to_owned(), e.to_string().into())])
            }));
            line.extend(device_memory(&device));
            line.insert("seconds_since_start".into(), begun.elapsed().as_secs_f64().into());
        }
        show(&line);
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::input(format!("not measured: {}", failed.join(", ")))) }
}

struct Suite<'a> {
    args: &'a SuiteArgs,
    spec: BackboneSpec,
    dims: Dims,
    workloads: Vec<Workload>,
    /// Drawn when it is first needed.
    subject: OnceCell<Subject>,
}

impl<'a> Suite<'a> {
    fn new(args: &'a SuiteArgs) -> Result<Self> {
        let spec = bench_model::drawn(&args.model, args.dtype, args.layers)?;
        if models::is_encoder(&spec.family)? {
            return Err(Error::input(format!("{} is an encoder, and the suite measures decoders", args.model)));
        }
        let dims = spec.dims()?;
        let dims = dims.ok_or_else(|| Error::input(format!("the shape {} says nothing of its layers", args.model)))?;
        let workloads: Vec<Workload> =
            args.workload.iter().map(|(_, path)| Workload::read(path)).collect::<Result<_>>()?;
        if let Some((_, (name, _))) = workloads.iter().zip(&args.workload).find(|(w, _)| w.tasks.is_empty()) {
            return Err(Error::input(format!("the workload `{name}` has no tasks")));
        }
        Ok(Self { args, spec, dims, workloads, subject: OnceCell::new() })
    }

    fn subject(&self) -> Result<&Subject> {
        if let Some(subject) = self.subject.get() {
            return Ok(subject);
        }
        let subject = Subject::drawn(self.spec.clone(), self.args.device)?;
        Ok(self.subject.get_or_init(|| subject))
    }

    fn method(&self, kind: &'static str) -> Method {
        Method { kind, rank: self.args.rank, virtual_tokens: self.args.virtual_tokens }
    }

    fn task(&self, workload: usize) -> &Task {
        &self.workloads[workload].tasks[0]
    }

    fn measure(&self, piece: &Piece) -> Result<Map<String, Value>> {
        let SuiteArgs { dtype, size, .. } = *self.args;
        let device = devices::open(self.args.device)?;
        let figures = match piece {
            Piece::Ceiling => json!({"size": size, "tflops": products::ceiling(&device, dtype, size, PRODUCTS)?}),
            Piece::Products(rows) => {
                json!({"products": products::of_layer(&device, dtype, &self.dims, *rows, PRODUCTS)?})
            }
            Piece::Train(workload, method) => self.train(self.task(*workload), self.method(method))?,
            Piece::Same(method) => self.same(self.method(method))?,
            Piece::Profile(workload, method) => self.profile(self.task(*workload), self.method(method))?,
        };
        match figures {
            Value::Object(figures) => Ok(figures),
            _ => Err(Error::internal("figures without names")),
        }
    }

    /// The steps once for warm-up, so that rows of all these lengths were computed before; then the same ones, measured.
    fn train(&self, task: &Task, method: Method) -> Result<Value> {
        let SuiteArgs { batch, steps, .. } = *self.args;
        let subject = self.subject()?;
        let samples = subject.samples(task, batch, steps);
        let adapter = subject.adapter(method, task)?;
        let steps_of = |clock: &Clock| subject.train(task, adapter.as_ref(), &samples, batch, steps, clock);
        let first = Clock::new(subject.device());
        steps_of(&first)?;
        let clock = Clock::new(subject.device());
        let losses = steps_of(&clock)?;
        let computed = clock.measured("tokens_per_second") * clock.measured("train_seconds");
        let tokens: usize = samples.iter().map(|s| subject.tokens(task, s)).sum();
        let laps = clock.laps();
        let step = median(&laps.iter().map(|lap| lap.seconds).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        let of_step = |tokens: f64| rate(tokens / steps as f64, step);
        Ok(json!({
            "batch": batch, "steps": steps, "examples_per_s": rate(batch as f64, step),
            "tokens_per_s": of_step(tokens as f64), "computed_tokens_per_s": of_step(computed),
            "row_tokens": (computed / steps as f64).round(), "median_step_s": step,
            "first_step_s": first.laps().first().map(|lap| lap.seconds),
            "step_s": laps.iter().map(|lap| lap.seconds).collect::<Vec<_>>(),
            "device_s": by_phase(&laps, |lap| &lap.device), "enqueue_s": by_phase(&laps, |lap| &lap.enqueued),
            "launches": of_counts(&laps, |lap| lap.counts.launches),
            "products": of_counts(&laps, |lap| lap.counts.products),
            "allocations": of_counts(&laps, |lap| lap.counts.allocations),
            "loss": losses.last(),
        }))
    }

    /// Two trainings that must not differ in a bit.
    fn same(&self, method: Method) -> Result<Value> {
        let (subject, task, batch) = (self.subject()?, self.task(0), self.args.batch);
        let samples = subject.samples(task, batch, SAME_STEPS);
        let once = || -> Result<(Vec<f32>, String)> {
            let adapter = subject.adapter(method, task)?;
            let losses = subject.train(task, adapter.as_ref(), &samples, batch, SAME_STEPS, &Unwatched)?;
            Ok((losses, digest(adapter.as_ref())?))
        };
        let (first, second) = (once()?, once()?);
        if first != second {
            return Err(Error::internal(format!("the same steps gave {first:?}, then {second:?}")));
        }
        Ok(json!({"same": true, "steps": SAME_STEPS, "loss": first.0, "parameters": first.1}))
    }

    fn profile(&self, task: &Task, method: Method) -> Result<Value> {
        let (subject, batch) = (self.subject()?, self.args.batch);
        let samples = subject.samples(task, batch, WARMUP);
        let adapter = subject.adapter(method, task)?;
        let steps_of = |steps| subject.train(task, adapter.as_ref(), &samples, batch, steps, &Unwatched);
        steps_of(WARMUP)?;
        let before = devices::counts();
        devices::profile(subject.device(), || steps_of(1))??;
        let counts = devices::counts().since(before);
        Ok(json!({"launches": counts.launches, "products": counts.products, "layers": subject.backbone.dims().layers}))
    }
}

/// Of all trained numbers.
fn digest(adapter: &dyn Adapter) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (_, parameter) in adapter.parameters() {
        for number in parameter.flatten_all()?.to_vec1::<f32>()? {
            hasher.update(&number.to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().as_str()[..16].to_owned())
}

/// The median of each phase.
fn by_phase(laps: &[Lap], of: impl Fn(&Lap) -> &BTreeMap<String, f64>) -> BTreeMap<String, Option<f64>> {
    let phases = laps.first().map(&of).into_iter().flat_map(BTreeMap::keys);
    let values = |phase: &String| laps.iter().filter_map(|lap| of(lap).get(phase).copied()).collect::<Vec<_>>();
    phases.map(|phase| (phase.clone(), median(&values(phase)))).collect()
}

fn of_counts(laps: &[Lap], of: impl Fn(&Lap) -> u64) -> Option<f64> {
    median(&laps.iter().map(|lap| of(lap) as f64).collect::<Vec<_>>())
}
