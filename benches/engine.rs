//! What the engine costs, beside its peers where these are on PATH: `ninja`, `dvc`, `snakemake`, `b3sum`.
//!
//! Prints one line per figure: the median of several runs, and where processes are started also their processor time, which
//! tells more where the machine has other work. `cargo bench --bench engine -- WORD` runs those with WORD in their
//! name; `EMOPIPE_BENCH=large` adds the sizes that take minutes to prepare.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use emopipe::{
    base::{
        digest::Digest,
        error::{IoAt, Result},
        machine::Resources,
    },
    config::{self, Diagnostic, LoadOptions, Node, Vocabulary, load},
    engine::{
        Context, Isolation, Registry, ResolveContext, Resolved, StageKind,
        journal::{Entry, Observer},
        plan::{Finished, Plan},
        scheduler::{self, Limits, Options},
        vocabulary_entry,
    },
    stages,
    store::Store,
};

/// Small figures first; a figure's preparation isn't part of it.
fn main() {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let large = std::env::var_os("EMOPIPE_BENCH").is_some_and(|v| v == "large");
    let benches: [(&str, &dyn Fn()); 6] = [
        ("start", &start),
        ("nothing-1000", &|| nothing_to_do(1000)),
        ("nothing-10000", &|| nothing_to_do(10_000)),
        ("overhead", &overhead),
        ("hash", &hash),
        ("nothing-100000", &|| {
            if large { nothing_to_do(100_000) } else { skip("nothing-100000", "EMOPIPE_BENCH=large") }
        }),
    ];
    for (name, bench) in benches {
        if name.contains(&wanted) {
            bench();
        }
    }
}

fn skip(what: &str, why: &str) {
    println!("SKIPPED {what}: needs {why}");
}

/// What something took.
struct Took {
    /// Median seconds of the clock.
    clock: f64,
    /// Mean seconds of all processors, of this process and of those that it started.
    processor: f64,
}

/// Of `runs` calls that each do a thing `times` times: what it takes once.
fn measure(runs: usize, times: usize, mut call: impl FnMut()) -> Took {
    let before = processor();
    let mut clock: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    clock.sort_by(f64::total_cmp);
    let times = times as f64;
    Took { clock: clock[runs / 2] / times, processor: (processor() - before) / runs as f64 / times }
}

/// Seconds of user and system time of this process and its ended children, in hundredths.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn show(what: &str, took: &Took) {
    println!("{what:60} {:10.2} ms {:10.2} ms of processors", took.clock * 1e3, took.processor * 1e3);
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    run_with(program, arguments, folder, &[]);
}

fn run_with(program: &str, arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env_remove("EMOPIPE_STORE")
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

const EMOPIPE: &str = env!("CARGO_BIN_EXE_emopipe");

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// KiB that a program holds at most, as GNU `time` sees it.
fn most_memory(program: &str, arguments: &[&str], folder: &Path) -> Option<f64> {
    let ran = Command::new("/usr/bin/time")
        .args(["-f", "%M", program])
        .args(arguments)
        .current_dir(folder)
        .env_remove("EMOPIPE_STORE")
        .stdout(Stdio::null())
        .output();
    String::from_utf8(ran.ok()?.stderr).ok()?.lines().last()?.parse().ok()
}

fn start() {
    let dir = finished(100);
    let command = |arguments: &[&str]| measure(41, 1, || run(EMOPIPE, arguments, dir.path()));
    show("emopipe --help", &command(&["--help"]));
    show("emopipe status, 100 actions", &command(&["status", "pipeline.toml"]));
}

/// A pipeline of so many commands whose results are all in the store.
fn finished(actions: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let numbers: Vec<String> = (0..actions).map(|i| format!("\"{i}\"")).collect();
    let text = format!(
        "[pipeline]\nname = \"bench\"\n[stages.touch]\nkind = \"exec\"\nmatrix = {{ n = [{}] }}\n\
         command = [\"sh\", \"-c\", \"echo ${{n}} > $0/${{n}}\", \"{{out}}\"]\noutputs = [\"${{n}}\"]\n",
        numbers.join(",")
    );
    let path = dir.path().join("pipeline.toml");
    fs::write(&path, text).unwrap();
    let loaded = load(&path, &LoadOptions::default(), &stages::vocabulary());
    let Ok(plan) = Plan::new(loaded.spec.unwrap(), stages::REGISTRY) else { panic!("the pipeline doesn't plan") };
    let store = Store::open(&dir.path().join("cache")).unwrap();
    for (i, action) in plan.actions.iter().enumerate() {
        let nothing = |_| -> Option<Finished> { None };
        let preimage = plan.preimage(i, nothing).unwrap();
        let out = store.staging().unwrap();
        let number = &action.axes[0].1;
        fs::write(out.path().join(number), format!("{number}\n")).unwrap();
        let record = serde_json::json!({ "action": action.name, "preimage": preimage });
        store.publish(preimage.key(), &plan.identity(i), out.path(), &record).unwrap();
    }
    dir
}

fn nothing_to_do(actions: usize) {
    let runs = if actions > 10_000 { 5 } else { 11 };
    let dir = finished(actions);
    // The first run finds everything and leaves a memo.
    run(EMOPIPE, &["run", "pipeline.toml"], dir.path());
    let took = measure(runs, 1, || run(EMOPIPE, &["run", "pipeline.toml"], dir.path()));
    show(&format!("emopipe run, nothing to do, {actions} actions"), &took);
    let took = measure(runs, 1, || {
        let off = [("EMOPIPE_MEMO", "off")];
        run_with(EMOPIPE, &["run", "pipeline.toml"], dir.path(), &off)
    });
    show(&format!("the same without its memo, {actions} actions"), &took);
    if let Some(kibibytes) = most_memory(EMOPIPE, &["run", "pipeline.toml"], dir.path()) {
        println!("{:60} {:10.1} MiB", format!("its largest resident set, {actions} actions"), kibibytes / 1024.0);
    }
    if has("ninja") {
        let mut text = "rule echo\n  command = echo $out > $out\n".to_owned();
        for i in 0..actions {
            let _ = writeln!(text, "build out/{i}: echo");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("build.ninja"), text).unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        run("ninja", &[], dir.path());
        show(&format!("ninja, nothing to do, {actions} edges"), &measure(runs, 1, || run("ninja", &[], dir.path())));
        if let Some(kibibytes) = most_memory("ninja", &[], dir.path()) {
            println!("{:60} {:10.1} MiB", format!("its largest resident set, {actions} edges"), kibibytes / 1024.0);
        }
    } else {
        skip("ninja", "ninja on PATH (`pip install ninja`)");
    }
    if actions == 1000 {
        slower_peers(actions);
    }
}

fn slower_peers(actions: usize) {
    if has("snakemake") {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "rule all:\n    input: expand(\"out/{{n}}\", n=range({actions}))\nrule one:\n    output: \"out/{{n}}\"\n    \
             shell: \"echo {{wildcards.n}} > {{output}}\"\n"
        );
        fs::write(dir.path().join("Snakefile"), text).unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        for i in 0..actions {
            fs::write(dir.path().join(format!("out/{i}")), format!("{i}\n")).unwrap();
        }
        let took = measure(3, 1, || run("snakemake", &["--cores", "2"], dir.path()));
        show(&format!("snakemake, nothing to do, {actions} jobs"), &took);
    } else {
        skip("snakemake", "snakemake on PATH (`pip install snakemake`)");
    }
    if has("dvc") {
        let dir = tempfile::tempdir().unwrap();
        let mut text = "stages:\n".to_owned();
        for i in 0..actions {
            let _ = write!(text, "  s{i}:\n    cmd: echo {i} > out/{i}\n    outs:\n    - out/{i}\n");
        }
        fs::create_dir(dir.path().join("out")).unwrap();
        fs::write(dir.path().join("dvc.yaml"), text).unwrap();
        run("dvc", &["init", "--no-scm", "-q"], dir.path());
        for i in 0..actions {
            fs::write(dir.path().join(format!("out/{i}")), format!("{i}\n")).unwrap();
        }
        run("dvc", &["commit", "-f", "-q"], dir.path());
        let took = measure(3, 1, || run("dvc", &["repro", "-q"], dir.path()));
        show(&format!("dvc repro, nothing to do, {actions} stages"), &took);
    } else {
        skip("dvc", "dvc on PATH (`pip install dvc`)");
    }
}

/// Writes one byte: whatever it takes is overhead.
struct Empty;

impl StageKind for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn version(&self) -> u32 {
        1
    }

    fn check(&self, _: &Node) -> Vec<Diagnostic> {
        Vec::new()
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<()>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        Ok(Resolved { params: config::to_json(&cx.action.params), ..Resolved::default() })
    }

    fn isolation(&self) -> Isolation {
        Isolation::InProcess
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let path = cx.out.join("x");
        fs::write(&path, "x").io_at("write", &path)
    }
}

static EMPTY: Registry = &[&Empty];

struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _: &Entry) {}
}

fn overhead() {
    let actions = 500;
    let numbers: Vec<String> = (0..actions).map(|i| format!("\"{i}\"")).collect();
    let stage = |kind: &str, rest: &str| {
        format!(
            "[pipeline]\nname = \"bench\"\n[stages.s]\nkind = \"{kind}\"\nmatrix = {{ n = [{}] }}\n{rest}",
            numbers.join(",")
        )
    };
    // Removed at the end: some filesystems take long to make files where many were removed a moment ago.
    let mut folders = Vec::new();
    let took = measure(5, actions, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipeline.toml");
        fs::write(&path, stage("empty", "word = \"${n}\"\n")).unwrap();
        let vocabulary = Vocabulary { definitions: Vec::new(), stage_kinds: vec![vocabulary_entry(&Empty)] };
        let spec = load(&path, &LoadOptions::default(), &vocabulary).spec.unwrap();
        let Ok(plan) = Plan::new(spec, EMPTY) else { panic!("the pipeline doesn't plan") };
        let store = Arc::new(Store::open(&dir.path().join("cache")).unwrap());
        let options = Options {
            limits: Limits { machine: Resources { cores: 2, memory: 1 << 30, gpus: 0 }, jobs: None },
            keep_going: false,
            selection: Default::default(),
            env: Vec::new(),
            check: false,
            withheld: Vec::new(),
            remote: None,
            expected: Default::default(),
            overwrite: false,
        };
        let summary = scheduler::run(&plan, &store, &options, &mut Nobody, &AtomicUsize::new(0)).unwrap();
        assert_eq!(summary.ran, actions);
        folders.push(dir);
    });
    show("an empty action in the scheduler's process", &took);
    let took = measure(5, actions, || {
        let dir = tempfile::tempdir().unwrap();
        let command = "command = [\"touch\", \"{out}/${n}\"]\noutputs = [\"${n}\"]\n";
        fs::write(dir.path().join("pipeline.toml"), stage("exec", command)).unwrap();
        run(EMOPIPE, &["run", "pipeline.toml", "--cores", "2"], dir.path());
        folders.push(dir);
    });
    show("an action in a worker that starts `touch`, two at a time", &took);
}

fn hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    let block: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..4096 {
        std::io::Write::write_all(&mut file, &block).unwrap();
    }
    drop(file);
    show("hash a file of 4 GiB", &measure(5, 1, || assert!(Digest::of_file(&path).is_ok())));
    if has("b3sum") {
        show("b3sum of the same", &measure(5, 1, || run("b3sum", &["large"], dir.path())));
    } else {
        skip("b3sum", "b3sum on PATH (`cargo install b3sum`)");
    }
    materialise(dir.path(), &path);
}

/// What it takes to give the file to a command as an input, and to place it in the project.
fn materialise(folder: &Path, file: &Path) {
    let link = folder.join("link");
    let took = measure(5, 1, || {
        fs::hard_link(file, &link).unwrap();
        fs::remove_file(&link).unwrap();
    });
    show("the same as an input of a command: a hard link", &took);
    match reflink_copy::reflink(file, &link) {
        Ok(()) => {
            let took = measure(5, 1, || {
                fs::remove_file(&link).unwrap();
                reflink_copy::reflink(file, &link).unwrap();
            });
            show("the same in the project: a copy that shares its bytes", &took);
        }
        Err(_) => skip("a copy that shares its bytes", "a filesystem that can (btrfs, XFS)"),
    }
}
