//! `emopipe bench` on tiny shapes: one JSON line with figures that make sense.

mod common;

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
    for method in ["lora", "prefix"] {
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
        let got = line(&project, &["evaluate", "--random", "--examples", "3", "--longest", "2", "--answer", answer]);
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
