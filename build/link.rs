//! One program for machines with and without a GPU.
//!
//! cudarc asks for the dynamic libraries of CUDA, and a program that is linked with them doesn't start where one is missing.
//! So the linker gets archives of the same names, in a folder that it searches first: each function in them opens the real
//! library when it is first called (`lazy.S`, `lazy.c`), and returns an error code where there is none. To some calls we add
//! something (`calls.c`).

use std::{env, fmt::Write, fs, os::unix::fs::symlink, path::Path};

use crate::toolkit::Toolkit;

/// The functions that cudarc declares. `scripts/cuda-check.sh` compares.
const FUNCTIONS: &str = include_str!("cuda-functions.txt");

/// How the names of a library's functions begin, and its place in `lazy.c`.
const PREFIXES: [(&str, u8); 5] = [("cublasLt", 2), ("cublas", 1), ("curand", 3), ("nvrtc", 4), ("cu", 0)];

/// What cudarc links; one archive holds the functions of all.
const LINKED: [&str; 5] = ["cuda", "nvrtc", "curand", "cublas", "cublasLt"];

pub fn lazily(toolkit: &Toolkit, out: &Path) -> Result<(), String> {
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") != "linux" || !["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        return Err("the feature `cuda` is for Linux on x86-64 and 64-bit ARM".to_owned());
    }
    let io = |e: std::io::Error| format!("can't write {}: {e}", out.display());
    let folder = out.join("link");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(io)?;
    }
    fs::create_dir_all(&folder).map_err(io)?;
    for name in LINKED {
        fs::write(folder.join(format!("lib{name}.a")), "!<arch>\n").map_err(io)?;
    }
    fs::write(out.join("functions.S"), trampolines()).map_err(io)?;
    cc::Build::new()
        .cargo_metadata(false)
        .file(out.join("functions.S"))
        .file("build/lazy.c")
        .file("build/calls.c")
        .include("build")
        .define("TOOLKIT", toolkit.major.to_string().as_str())
        .out_dir(&folder)
        .try_compile("cuda")
        .map_err(|e| format!("the C compiler refused what opens CUDA's libraries: {e}"))?;
    // The runtime is a part of candle's own kernels and is linked whole.
    match toolkit.libraries().map(|lib| lib.join("libcudart_static.a")).find(|p| p.is_file()) {
        Some(runtime) => symlink(runtime, folder.join("libcudart.a")).map_err(io)?,
        None => println!(
            "cargo::warning=no libcudart_static.a beside {}: the program will need libcudart.so",
            toolkit.nvcc.display()
        ),
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
    Ok(())
}

fn trampolines() -> String {
    let mut text = "#include \"lazy.S\"\n".to_owned();
    for function in FUNCTIONS.lines() {
        if let Some((_, library)) = PREFIXES.iter().find(|(prefix, _)| function.starts_with(prefix)) {
            let _ = writeln!(text, "function {function} {library}");
        }
    }
    text
}
