//! Compiles CUDA sources with nvcc, where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// nvcc, from `CUDA_HOME` or the search path; says that a test is skipped where there is none.
pub fn nvcc() -> Option<PathBuf> {
    let home = std::env::var_os("CUDA_HOME").map(|h| Path::new(&h).join("bin/nvcc"));
    let found = home
        .into_iter()
        .chain([PathBuf::from("nvcc")])
        .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success()));
    if found.is_none() {
        eprintln!("SKIPPED: no nvcc in CUDA_HOME or PATH");
    }
    found
}

/// The PTX of a source file, with the flags that candle's kernels are built with.
pub fn ptx(nvcc: &Path, source: &Path) -> String {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{}-{}.ptx",
        source.file_stem().unwrap().to_string_lossy(),
        std::process::id()
    ));
    let output = Command::new(nvcc)
        .args(["-ptx", "-arch=compute_90", "--expt-relaxed-constexpr", "-std=c++17", "-O3", "-o"])
        .arg(&out)
        .arg(source)
        .output()
        .expect("nvcc runs");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(out).expect("nvcc has written its output")
}
