//! Our kernels, `src/models/ops/cuda/NAME.cu`, as `OUT_DIR/NAME.ptx`.

use std::{env, fs, path::Path, process::Command};

use crate::toolkit::Toolkit;

const SOURCES: &str = "src/models/ops/cuda";

/// PTX of the oldest GPU that we support: drivers compile it for theirs (sm_80, sm_86, sm_89, sm_90 and newer) and keep the
/// outcome.
const ARCH: &str = "-arch=compute_80";

pub fn compile(toolkit: &Toolkit, out: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=NVCC_CCBIN");
    let mut running = Vec::new();
    for entry in fs::read_dir(SOURCES).map_err(|e| format!("can't read {SOURCES}: {e}"))? {
        let source = entry.map_err(|e| format!("can't read {SOURCES}: {e}"))?.path();
        if source.extension().is_none_or(|e| e != "cu") {
            continue;
        }
        let mut nvcc = Command::new(&toolkit.nvcc);
        nvcc.args(["-ptx", ARCH, "-O3", "-std=c++17", "-o"]);
        nvcc.arg(out.join(source.with_extension("ptx").file_name().unwrap_or_default())).arg(&source);
        if let Some(compiler) = env::var_os("NVCC_CCBIN") {
            nvcc.arg("-allow-unsupported-compiler").arg("-ccbin").arg(compiler);
        }
        let child = nvcc.spawn().map_err(|e| format!("can't run {}: {e}", toolkit.nvcc.display()))?;
        running.push((source, child));
    }
    let mut failed = Vec::new();
    for (source, mut child) in running {
        if !child.wait().is_ok_and(|status| status.success()) {
            failed.push(source.display().to_string());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("nvcc refused {}; it says why above", failed.join(", "))) }
}
