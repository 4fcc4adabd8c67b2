//! `kill -9` of the scheduler, of workers, or of both, at random and at exact instants: the next run ends in the same bytes,
//! and nothing that was finished runs again.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use common::{
    Project,
    journals::{artifacts, assert_nothing_finished_ran_again},
    server,
    tiny::{films, write_model},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every kind of work that is worth interrupting: a slow download, a command, preparation, tokens, two trainings that write a
/// checkpoint at every step, with dropout (where the method has it), warm-up and shuffled data, and an exported summary.
const PIPELINE: &str = r#"
[pipeline]
name = "faults"

[model.tiny]
family = "llama"
[model.tiny.source]
"config.json" = { url = "file:model/config.json" }
"model.safetensors" = { url = "file:model/model.safetensors" }
"tokenizer.json" = { url = "file:model/tokenizer.json" }
"tokenizer_config.json" = { url = "file:model/tokenizer_config.json" }

[dataset.films]
title = "Films"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
normalize = ["collapse-whitespace", "trim"]
split = { train = 0.6, dev = 0.1, test = 0.3 }
expect = { rows = 81 }
[dataset.films.source]
"films.tsv" = { url = "URL/films.tsv" }
[dataset.films.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-4, 0)", positive = "(0, 4]" }

[task.films-2]
title = "Films-2"
dataset = "films"
scheme = "2"
instruction = "{labels}? {sentence}"
limit = { train = 12, dev = 0, test = 4 }

[method.ptuning2]
title = "P-Tuning v2"
adapter = { kind = "ptuning2", virtual_tokens = 4 }
batch_size = 4
epochs = 3
warmup = 3
learning_rate = 0.01
checkpoint_every_steps = 1
[method.lora]
title = "LoRA"
adapter = { kind = "lora", rank = 2, dropout = 0.2 }
batch_size = 4
epochs = 3
warmup = 3
learning_rate = 0.01
checkpoint_every_steps = 1

[stages.raw]
kind = "download"
from = "dataset.films"
[stages.backbone]
kind = "download"
from = "model.tiny"
[stages.count]
kind = "exec"
inputs = { raw = "raw" }
command = ["sh", "-c", "sleep 0.1; wc -l < $0 > $1/lines.txt; sleep 0.05", "{raw}", "{out}"]
outputs = ["lines.txt"]
[stages.examples]
kind = "prepare"
inputs = { raw = "raw" }
task = "films-2"
[stages.tokens]
kind = "tokenize"
inputs = { examples = "examples", model = "backbone" }
task = "films-2"
model = "tiny"
[stages.train]
kind = "train"
matrix = { method = ["ptuning2", "lora"] }
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
method = "${method}"
[stages.sum]
kind = "exec"
inputs = { adapters = "train", lines = "count" }
command = ["sh", "-c", "cat $0 $1/*/training.json > $2/sum.txt", "{lines}", "{adapters}", "{out}"]
outputs = ["sum.txt"]
export = "reports"
"#;

/// The file that is downloaded slowly, and its server.
fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| server::serve(films().into_bytes(), 400, Duration::from_millis(12)))
}

fn project() -> Project {
    static PINNED: OnceLock<String> = OnceLock::new();
    let project = Project::new(&PIPELINE.replace("URL", url()));
    write_model(&project);
    let pinned = PINNED.get_or_init(|| {
        project.emopipe(&["pin"]).ok();
        project.read("pipeline.toml")
    });
    project.write("pipeline.toml", pinned);
    project
}

/// What an undisturbed run gives.
struct Undisturbed {
    /// By action.
    artifacts: BTreeMap<String, String>,
    /// The exported file.
    sum: String,
    took: Duration,
}

fn undisturbed() -> &'static Undisturbed {
    static RESULT: OnceLock<Undisturbed> = OnceLock::new();
    RESULT.get_or_init(|| {
        let project = project();
        let start = Instant::now();
        project.emopipe(&["run"]).ok();
        let took = start.elapsed();
        Undisturbed { artifacts: artifacts(&project), sum: project.read("reports/sum.txt"), took }
    })
}

#[track_caller]
fn assert_undisturbed(project: &Project) {
    project.emopipe(&["run"]).ok();
    let expected = undisturbed();
    assert_eq!(artifacts(project), expected.artifacts);
    assert_eq!(project.read("reports/sum.txt"), expected.sum);
    project.emopipe(&["verify"]).ok();
}

fn spawn(project: &Project) -> Child {
    project.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap()
}

fn workers(of: &Child) -> Vec<u32> {
    let pid = of.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|c| c.parse().ok()).collect()
}

fn kill(pid: u32) {
    // It may have ended by itself in the meantime.
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
}

/// `EMOPIPE_KILLS` kills (200 if it isn't set), in series that end with an undisturbed run.
#[test]
fn random_kills_lose_nothing_and_repeat_nothing() {
    let wanted: usize = std::env::var("EMOPIPE_KILLS").map_or(200, |n| n.parse().expect("EMOPIPE_KILLS is a number"));
    let mut random = ChaCha8Rng::seed_from_u64(20_231_014);
    let longest = undisturbed().took / 3;
    let (mut kills, mut series, mut started, mut by_victim) = (0, 0, 0, [0; 3]);
    while kills < wanted {
        let project = project();
        series += 1;
        while kills < wanted {
            let mut child = spawn(&project);
            std::thread::sleep(longest.mul_f64(random.random_range(0.0..1.0)));
            let victim: usize = random.random_range(0..3);
            let workers = workers(&child);
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if victim != 0 {
                workers.iter().for_each(|w| kill(*w));
            }
            if victim != 1 {
                child.kill().unwrap();
            } else if workers.is_empty() {
                // Nobody was killed.
                child.wait().unwrap();
                continue;
            }
            kills += 1;
            by_victim[victim] += 1;
            child.wait().unwrap();
        }
        assert_undisturbed(&project);
        started += assert_nothing_finished_ran_again(&project);
    }
    println!("{kills} kills ({by_victim:?} of scheduler, workers, both) in {series} series; {started} actions started");
}

/// The instants that random kills rarely hit, each in the scheduler's order of work: the first, and a later one.
#[test]
fn kills_at_exact_instants_lose_nothing_and_repeat_nothing() {
    let points = ["blob", "blob-renamed", "record", "index-half", "index", "checkpoint-half", "checkpoint", "download"];
    let cases: Vec<(&str, u32)> = points.iter().flat_map(|p| [(*p, 1), (*p, 3)]).collect();
    let hits = std::sync::atomic::AtomicUsize::new(0);
    undisturbed();
    // Two at once: most of the time goes into waiting before a download is tried again.
    std::thread::scope(|scope| {
        for half in cases.chunks(cases.len().div_ceil(4)) {
            let hits = &hits;
            scope.spawn(move || {
                for (point, pass) in half {
                    let project = project();
                    let mut command = project.command(&["run", "pipeline.toml"]);
                    let ran = command.env("EMOPIPE_FAILPOINT", format!("{point}:{pass}")).output().unwrap();
                    let said = String::from_utf8_lossy(&ran.stderr);
                    if said.contains("killed (signal 9)") {
                        hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    } else {
                        // A worker that writes one file passes some points once only.
                        assert!(*pass > 1 && ran.status.success(), "{point}:{pass} killed nobody\n{said}");
                    }
                    assert_undisturbed(&project);
                    assert_nothing_finished_ran_again(&project);
                }
            });
        }
    });
    println!("{} exact kills of {} tried", hits.into_inner(), cases.len());
}

/// Each try gets two checkpoints further and is killed, until training is done.
#[test]
fn a_training_that_is_killed_at_every_other_checkpoint_ends_in_the_same_adapter() {
    let expected = &undisturbed().artifacts;
    for method in ["lora", "ptuning2"] {
        let project = project();
        project.emopipe(&["run", "--until", "tokens"]).ok();
        let target = format!("train[method={method}]");
        let mut kills = 0;
        loop {
            let mut command = project.command(&["run", "pipeline.toml", "--until", &target]);
            let ran = command.env("EMOPIPE_FAILPOINT", "checkpoint:2").output().unwrap();
            if ran.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(said.contains("killed (signal 9)"), "{said}");
            assert_eq!(said.contains("continues after step"), kills > 0, "{said}");
            kills += 1;
            assert!(kills < 20);
        }
        println!("{method}: {kills} kills");
        assert!(kills >= 3);
        assert_eq!(artifacts(&project)[&target], expected[&target]);
    }
}
