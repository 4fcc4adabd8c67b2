//! What the engine costs: planning and running pipelines in which nothing is left to do.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Stdio},
    sync::Mutex,
};

fn main() {
    divan::main();
}

/// A project with `actions` finished actions, made once per size.
fn finished(actions: usize) -> std::path::PathBuf {
    static MADE: Mutex<Option<HashMap<usize, tempfile::TempDir>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap();
    let project = made.get_or_insert_default().entry(actions).or_insert_with(|| {
        let dir = tempfile::tempdir().unwrap();
        let numbers: Vec<String> = (0..actions).map(|i| format!("\"{i}\"")).collect();
        let pipeline = format!(
            "[pipeline]\nname = \"bench\"\n[stages.touch]\nkind = \"exec\"\nmatrix = {{ n = [{}] }}\n\
             command = [\"touch\", \"{{out}}/${{n}}\"]\noutputs = [\"${{n}}\"]\n",
            numbers.join(",")
        );
        fs::write(dir.path().join("pipeline.toml"), pipeline).unwrap();
        emopipe(dir.path(), "run");
        dir
    });
    project.path().to_owned()
}

fn emopipe(folder: &std::path::Path, command: &str) {
    let status = Command::new(env!("CARGO_BIN_EXE_emopipe"))
        .args([command, "pipeline.toml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[divan::bench(args = [100, 1000], sample_count = 20)]
fn run_with_nothing_to_do(bencher: divan::Bencher, actions: usize) {
    let folder = finished(actions);
    bencher.bench(|| emopipe(&folder, "run"));
}

#[divan::bench(args = [100, 1000], sample_count = 20)]
fn plan(bencher: divan::Bencher, actions: usize) {
    let folder = finished(actions);
    bencher.bench(|| emopipe(&folder, "plan"));
}

#[divan::bench(sample_count = 50)]
fn help() {
    emopipe(std::path::Path::new("."), "--help");
}
