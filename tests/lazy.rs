//! CUDA's libraries are opened when they are first called (`build/lazy.S`): arguments arrive, and what isn't there is an error
//! code.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compile(arguments: &[&str], sources: &[PathBuf], out: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-fPIC", "-w", "-DTOOLKIT=13", "-I"]).arg(source("build"));
    compiler.args(arguments).args(sources).arg("-o").arg(out);
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
}

fn run(program: &Path, libraries: &Path) -> String {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries).env_remove("CUDA_HOME").env_remove("CUDA_PATH");
    let out = command.output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn functions_are_found_at_their_first_call_or_fail() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let functions = at("functions.S");
    let lines = [
        "cuLaunchKernel 0",
        "cuMemAlloc_v2 0",
        "cublasCreate_v2 1",
        "curandCreateGenerator 3",
        "curandGenerateNormalDouble 3",
        "nvrtcVersion 4",
    ];
    let text = lines.map(|line| format!("function {line}\n")).concat();
    std::fs::write(&functions, format!("#include \"lazy.S\"\n{text}")).unwrap();
    let program = at("program");
    compile(&["-pie", "-Wl,-z,now"], &[source("tests/lazy/program.c"), functions, source("build/lazy.c")], &program);
    std::fs::create_dir(at("none")).unwrap();
    std::fs::create_dir(at("some")).unwrap();
    for name in ["libcuda.so.1", "libcublas.so.12", "libcurand.so.10"] {
        compile(&["-shared"], &[source("tests/lazy/libraries.c")], &at("some").join(name));
    }

    // Another toolkit's library serves, too; a function that a library lacks fails as one whose library isn't there.
    let some = run(&program, &at("some"));
    assert!(some.starts_with("41 302 42 203 43 11 41 302 42 203 43 11 "), "{some}");
    assert!(some.contains("cuMemAlloc_v2"), "{some}");
    let installed = Path::new("/usr/local/cuda").exists() || loader_knows("libcuda.so.1");
    if installed {
        eprintln!("SKIPPED: this machine has CUDA, so its absence can't be tested");
        return;
    }
    // Setting up a generator that nobody asks for numbers succeeds without cuRAND.
    let none = run(&program, &at("none"));
    assert!(none.starts_with("302 302 1 0:none 203 11 302 302 1 0:none 203 11 libcuda.so.1: "), "{none}");
}

/// Whether the loader knows the library.
fn loader_knows(name: &str) -> bool {
    let cache = Command::new("/sbin/ldconfig").arg("-p").output();
    cache.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(name))
}
