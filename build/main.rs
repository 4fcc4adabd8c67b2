//! What the `cuda` feature needs beside Rust: our kernels as PTX, and CUDA's libraries opened at their first use.

#[cfg(feature = "cuda")]
mod kernels;
#[cfg(feature = "cuda")]
mod link;
#[cfg(feature = "cuda")]
mod toolkit;

fn main() {
    println!("cargo::rerun-if-changed=build");
    #[cfg(feature = "cuda")]
    if let Err(problem) = cuda() {
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<(), String> {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let toolkit = toolkit::Toolkit::find()?;
    // As drivers count releases.
    println!("cargo::rustc-env=EMOPIPE_CUDA={}", toolkit.major * 1000 + toolkit.minor * 10);
    kernels::compile(&toolkit, &out)?;
    link::lazily(&toolkit, &out)
}
