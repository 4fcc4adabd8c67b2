//! CUDA's libraries are opened when they are first called (`build/lazy.S`): arguments arrive, what isn't there is an error code,
//! and to some calls something is added (`build/calls.c`).

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compile(arguments: &[&str], sources: &[PathBuf], out: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-fPIC", "-w", "-DTOOLKIT=13", "-I"]).arg(source("build"));
    compiler.args(arguments).args(sources).arg("-o").arg(out);
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
}

/// What the functions of CUDA's that a program calls are linked through, with their places in `lazy.c`.
const FUNCTIONS: [&str; 12] = [
    "cuCtxSynchronize 0",
    "cuLaunchKernel 0",
    "cuMemAlloc_v2 0",
    "cuMemHostAlloc 0",
    "cuMemcpyDtoHAsync_v2 0",
    "cuMemcpyHtoDAsync_v2 0",
    "cuStreamSynchronize 0",
    "cublasCreate_v2 1",
    "cublasGetVersion_v2 1",
    "curandCreateGenerator 3",
    "curandGenerateNormalDouble 3",
    "nvrtcVersion 4",
];

/// A program of `tests/lazy`.
fn program(folder: &TempDir, name: &str) -> PathBuf {
    let functions = folder.path().join("functions.S");
    let text = FUNCTIONS.map(|line| format!("function {line}\n")).concat();
    std::fs::write(&functions, format!("#include \"lazy.S\"\n{text}")).unwrap();
    let out = folder.path().join(name);
    let sources = [source(&format!("tests/lazy/{name}.c")), functions, source("build/lazy.c"), source("build/calls.c")];
    compile(&["-pie", "-Wl,-z,now"], &sources, &out);
    out
}

/// A folder with stand-ins for some of CUDA's libraries.
fn libraries(folder: &TempDir, below: &str, names: &[&str]) -> PathBuf {
    let place = folder.path().join(below);
    std::fs::create_dir_all(&place).unwrap();
    for name in names {
        compile(&["-shared"], &[source("tests/lazy/libraries.c")], &place.join(name));
    }
    place
}

/// The program with CUDA where the arguments say, and nowhere else that `lazy.c` looks by itself.
fn command(program: &Path, libraries: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries).env_remove("CUDA_HOME").env_remove("CUDA_PATH").env("PATH", "/nowhere");
    command
}

fn said(mut command: Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Whether this machine has CUDA, so that its absence can't be tested.
fn has_cuda() -> bool {
    let cache = Command::new("/sbin/ldconfig").arg("-p").output();
    let known = cache.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("libcuda.so.1"));
    let installed = known || Path::new("/usr/local/cuda").exists();
    if installed {
        eprintln!("SKIPPED: this machine has CUDA, so its absence can't be tested");
    }
    installed
}

#[test]
fn functions_are_found_at_their_first_call_or_fail() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(&folder, "program");
    let some = libraries(&folder, "some", &["libcuda.so.1", "libcublas.so.12", "libcurand.so.10"]);

    // Another toolkit's library serves, too; a function that a library lacks fails as one whose library isn't there.
    let some = said(command(&program, &some));
    assert!(some.starts_with("41 302 42 1 203 43 11 41 302 42 1 203 43 11 | 2 1 | "), "{some}");
    assert!(some.contains("cuMemAlloc_v2"), "{some}");
    if has_cuda() {
        return;
    }
    // Without cuBLAS and cuRAND only what needs them fails, not what sets them up.
    let none = said(command(&program, &libraries(&folder, "none", &[])));
    assert!(
        none.starts_with("302 302 0:none 1 0:none 203 11 302 302 0:none 1 0:none 203 11 | 0 0 | libcuda.so.1: "),
        "{none}"
    );
}

#[test]
fn libraries_of_python_wheels_are_found() {
    if has_cuda() {
        return;
    }
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = program(&folder, "program");
    let driver = libraries(&folder, "driver", &["libcuda.so.1"]);
    libraries(&folder, "site/nvidia/cu13/lib", &["libcublas.so.13", "libcuda.so.1"]);
    libraries(&folder, "site/torch/lib", &["libcurand.so.10"]);
    std::fs::write(folder.path().join("site/torch/__init__.py"), "raise SystemExit('nobody asked to be imported')")
        .unwrap();
    let asking = |libraries: &Path| {
        let mut command = command(&program, libraries);
        command.env("PYTHONPATH", folder.path().join("site")).env("PATH", std::env::var_os("PATH").unwrap());
        said(command)
    };
    let found = asking(&driver);
    assert!(found.starts_with("41 302 42 1 203 43 11 "), "{found}");
    // A driver is the machine's and never a wheel's.
    let without = asking(folder.path());
    assert!(without.starts_with("302 302 42 1 203 43 11 "), "{without}");
}

#[test]
fn copies_may_be_late() {
    let folder = tempfile::tempdir().unwrap();
    let copies = program(&folder, "copies");
    let driver = libraries(&folder, "driver", &["libcuda.so.1"]);
    said(command(&copies, &driver));
}
