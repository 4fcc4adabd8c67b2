//! The CUDA toolkit of this machine.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Where a toolkit may be that neither `PATH` nor the environment names.
const USUAL: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];

pub struct Toolkit {
    pub nvcc: PathBuf,
    /// As in release 13.0.
    pub major: u32,
    pub minor: u32,
}

impl Toolkit {
    /// Looks where candle's kernels look, so that one toolkit builds all: `NVCC`, `PATH`, `CUDA_HOME`, `CUDA_PATH`, the usual
    /// folders.
    pub fn find() -> Result<Self, String> {
        for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let named = env::var_os("NVCC").map(PathBuf::from);
        let on_path = env::var_os("PATH").into_iter().flat_map(|p| env::split_paths(&p).collect::<Vec<_>>());
        let roots = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
        let in_roots = roots.chain(USUAL.map(PathBuf::from)).map(|root| root.join("bin"));
        let nvcc = named.into_iter().chain(on_path.chain(in_roots).map(|bin| bin.join("nvcc"))).find(|p| p.is_file());
        let nvcc = nvcc.ok_or(
            "the feature `cuda` needs nvcc, which is neither on PATH nor under CUDA_HOME or /usr/local/cuda. \
             Install the CUDA toolkit, or let `scripts/cuda-toolkit.sh FOLDER` fetch one (no root needed).",
        )?;
        let (major, minor) = release(&nvcc)?;
        Ok(Self { nvcc, major, minor })
    }

    /// The folders that hold its libraries.
    pub fn libraries(&self) -> impl Iterator<Item = PathBuf> {
        let real = self.nvcc.canonicalize().unwrap_or_else(|_| self.nvcc.clone());
        let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        let below = [
            "lib64".to_owned(),
            "lib".to_owned(),
            format!("targets/{arch}-linux/lib"),
            format!("lib/{arch}-linux-gnu"),
        ];
        let roots: Vec<PathBuf> =
            [&self.nvcc, &real].into_iter().filter_map(|p| p.ancestors().nth(2)).map(Path::to_owned).collect();
        roots.into_iter().flat_map(move |root| below.clone().map(|folder| root.join(folder)))
    }
}

/// The numbers in `Cuda compilation tools, release 13.0, V13.0.88`.
fn release(nvcc: &Path) -> Result<(u32, u32), String> {
    let said =
        Command::new(nvcc).arg("--version").output().map_err(|e| format!("can't run {}: {e}", nvcc.display()))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers = || {
        let (major, rest) = said.split_once("release ")?.1.split_once('.')?;
        Some((major.parse().ok()?, rest.split(',').next()?.parse().ok()?))
    };
    numbers().ok_or_else(|| format!("`{} --version` names no release:\n{said}", nvcc.display()))
}
