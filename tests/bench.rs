//! `emopipe bench` on tiny shapes: one JSON line with figures that make sense.

mod common;

use std::{path::Path, process::Command};

use common::{Project, Ran};
use serde_json::Value;

const SHAPE: &str = r#"{"model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": true}"#;

const WORKLOAD: &str = r#"{"tasks": [
    {"name": "a", "shared": 4, "labels": [[7], [8, 9]], "end": 2, "train": [6, 9, 12], "test": [5, 7]},
    {"name": "b", "shared": 0, "labels": [[7], [8]], "end": 2, "train": [3], "test": [4]}]}"#;

fn project() -> Project {
    let project = Project::new("");
    project.write("shape.json", SHAPE);
    project.write("workload.json", WORKLOAD);
    project
}

fn run(project: &Project, arguments: &[&str]) -> Ran {
    Ran(project.command(arguments).output().unwrap())
}

fn line(project: &Project, arguments: &[&str]) -> Value {
    let mut all = vec!["bench"];
    all.extend(arguments);
    all.extend(["--model", "shape.json", "--workload", "workload.json", "--threads", "2"]);
    serde_json::from_str(&run(project, &all).ok().stdout()).unwrap()
}

#[test]
fn training_is_measured_step_by_step() {
    let project = project();
    for method in ["lora", "ptuning2"] {
        let arguments =
            ["train", "--random", "--method", method, "--batch", "3", "--steps", "2", "--virtual-tokens", "4"];
        let first = line(&project, &arguments);
        assert_eq!((first["steps"].as_u64(), first["batch"].as_u64()), (Some(4), Some(3)));
        let (real, computed) =
            (first["tokens_per_s"].as_f64().unwrap(), first["computed_tokens_per_s"].as_f64().unwrap());
        assert!(real > 0.0 && computed > 0.0 && first["examples_per_s"].as_f64().unwrap() > 0.0);
        // Nothing is drawn by the clock: a second run trains the same steps.
        assert_eq!(line(&project, &arguments)["loss"], first["loss"]);
    }
}

#[test]
fn every_way_to_answer_is_measured() {
    let project = project();
    for answer in ["rank", "generate"] {
        let got =
            line(&project, &["evaluate", "--random", "--examples", "3", "--max-new-tokens", "2", "--answer", answer]);
        assert_eq!((got["answer"].as_str(), got["examples"].as_u64()), (Some(answer), Some(6)));
        assert!(got["examples_per_s"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn mistakes_are_explained() {
    let project = project();
    let error = |arguments: &[&str]| run(&project, arguments).fails(1).stderr();
    let unknown = ["bench", "train", "--random", "--workload", "workload.json", "--model", "no-such-shape"];
    assert!(error(&unknown).contains("`--random` knows the shapes smollm2-135m"));
    let named = ["bench", "train", "--workload", "workload.json", "--model", "smollm2-135m"];
    assert!(error(&named).contains("add `--random`"));
    project.write("workload.json", r#"{"tasks": [{"name": "a"}]}"#);
    let broken = ["bench", "train", "--random", "--workload", "workload.json", "--model", "shape.json"];
    assert!(error(&broken).contains("missing field `shared`"));
}

#[test]
fn products_are_measured() {
    let project = project();
    let ran = run(&project, &["bench", "matmul", "--size", "32", "--repeats", "2"]);
    let got: Value = serde_json::from_str(&ran.ok().stdout()).unwrap();
    assert_eq!((got["device"].as_str(), got["size"].as_u64()), (Some("cpu"), Some(32)));
    assert!(got["tflops"].as_f64().is_some());
}

const SUITE: [&str; 17] = [
    "bench",
    "suite",
    "--model",
    "shape.json",
    "--workload",
    "sst=workload.json",
    "--batch",
    "3",
    "--steps",
    "2",
    "--rows",
    "4,6",
    "--size",
    "16",
    "--virtual-tokens",
    "4",
    "--threads=2",
];

fn suite(project: &Project, more: &[&str]) -> Vec<Value> {
    let ran = run(project, &[&SUITE[..], more].concat()).ok();
    ran.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_suite_measures_each_piece_in_one_process() {
    let project = project();
    let names = |lines: &[Value]| lines.iter().map(|l| l["piece"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let lines = suite(&project, &[]);
    let all = ["ceiling", "products-4", "products-6", "train-sst-lora", "train-sst-prefix", "same-lora", "same-prefix"];
    assert_eq!(names(&lines), all);
    assert_eq!(lines[1]["products"].as_array().unwrap().len(), 8, "four matrices, both directions");
    for trained in &lines[3..5] {
        assert_eq!(trained["step_s"].as_array().unwrap().len(), 2);
        for phase in ["forward", "backward", "norm", "optimiser"] {
            assert!(trained["device_s"][phase].as_f64().unwrap() > 0.0, "{trained}");
            assert!(trained["enqueue_s"][phase].as_f64().unwrap() > 0.0, "{trained}");
        }
    }
    assert!(lines[5..].iter().all(|line| line["same"] == true));

    let asked = suite(&project, &["--only", "profile-sst-lora,ceiling", "--skip", "ceiling", "--layers", "1"]);
    assert_eq!((names(&asked), asked[0]["layers"].as_u64()), (vec!["profile-sst-lora".to_owned()], Some(1)));
    assert!(suite(&project, &["--seconds", "0"]).is_empty());
    assert!(run(&project, &[&SUITE[..], &["--only", "no-such"]].concat()).fails(1).stderr().contains("`--list`"));
}

#[test]
fn a_piece_that_fails_is_a_line_and_ends_nothing() {
    let project = project();
    // Its prompts are longer than the shape's context.
    project.write("far.json", &WORKLOAD.replace("[6, 9, 12]", "[6, 9, 1200]"));
    let ran = run(&project, &[&SUITE[..], &["--workload", "far=far.json", "--skip", "products-4,products-6"]].concat());
    let ran = ran.fails(1);
    let lines: Vec<Value> = ran.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: Vec<&str> =
        lines.iter().filter(|l| l.get("error").is_some()).map(|l| l["piece"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), failed), (7, vec!["train-far-lora", "train-far-prefix"]));
    assert!(ran.stderr().contains("train-far-lora"));
}

/// What packs and orchestrates a benchmark on a GPU, on a program that prints what it was told.
#[test]
fn the_orchestrator_keeps_every_line_and_goes_on_where_a_call_ended() {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED: there is no python3");
        return;
    }
    let project = project();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["scripts/bench/cuda.py", "scripts/bench/cuda_parts.py", "scripts/bench/cuda_report.py"] {
        project.write(name, &std::fs::read_to_string(here.join(name)).unwrap());
    }
    for name in ["benches/models/chatglm2-6b.json", "docs/benchmarks.md"] {
        project.write(name, &std::fs::read_to_string(here.join(name)).unwrap());
    }
    project.write("bin/tests/emopipe", "");
    project.write("bin/emopipe", FAKE);
    let orchestrate = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.arg("scripts/bench/cuda.py").args(arguments).current_dir(project.root());
        Ran(command.output().unwrap())
    };
    let told = |folder: &str| project.read(&format!("{folder}/results.jsonl"));

    let first = orchestrate(&["--out", "first", "--only", "suite", "--seconds", "60"]).fails(1);
    assert!(first.stderr().contains("failed: suite"), "{}", first.stderr());
    assert!(told("first").contains(r#""piece": "ceiling""#) && told("first").contains("no room"));
    // The second call is told what need not be done again, and what failed is made good.
    let second = orchestrate(&["--out", "second", "--resume", "first", "--only", "suite", "--seconds", "60"]).ok();
    assert!(told("second").contains("--skip ceiling,train-sst-prefix"), "{}", told("second"));
    assert!(second.stdout().contains("| LoRA, rank 8, SST's lengths | 20.0 |"), "{}", second.stdout());
    assert_eq!(project.read("second/report.md").trim(), second.stdout().trim());

    orchestrate(&["--write", "second"]).ok();
    let document = project.read("docs/benchmarks.md");
    assert!(document.contains("One Some GPU") && document.contains("## Whole runs"), "{document}");
    // Another program's figures aren't mixed with these.
    project.write("bin/emopipe", &format!("{FAKE}\n"));
    orchestrate(&["--out", "third", "--resume", "second", "--only", "suite", "--seconds", "60"]).fails(1);
    assert!(!told("third").contains("--skip"));
}

const FAKE: &str = r#"#!/bin/sh
line() { echo "{\"program\": \"emopipe\", \"device_name\": \"Some GPU\", \"piece\": \"$1\", $2}"; }
case "$*" in
*--skip*) line train-sst-lora "\"examples_per_s\": 20, \"arguments\": \"$*\"" ;;
*)
  line ceiling "\"size\": 8192, \"tflops\": 100"
  line train-sst-lora "\"error\": \"no room\""
  line train-sst-prefix "\"examples_per_s\": 30"
  exit 1
  ;;
esac
"#;

/// On a machine without a GPU, or in a build without CUDA.
#[test]
fn a_missing_gpu_is_an_error_that_helps() {
    let project = project();
    let mut command = project.command(&["bench", "matmul", "--device", "cuda"]);
    // No GPU is shown, so that the outcome is the same where there is one.
    let ran = Ran(command.env("CUDA_VISIBLE_DEVICES", "").output().unwrap());
    let said = ran.stderr();
    assert!(!ran.0.status.success() && said.contains("help:"), "{said}");
    assert!(["CUDA support", "NVIDIA driver"].iter().any(|what| said.contains(what)), "{said}");
}
