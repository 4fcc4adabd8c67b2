//! Every kernel of candle (without its quantized ones) is understood to the last instruction, but for numbers of
//! eight bits.

mod common;

use cudaemulator::driver::LoadedModule;
use cudaemulator::program::Op;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn sources() -> Option<PathBuf> {
    let home =
        std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    let mut crates: Vec<_> = registries
        .filter_map(|r| std::fs::read_dir(r.ok()?.path()).ok())
        .flatten()
        .filter_map(|c| Some(c.ok()?.path()))
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("candle-kernels-")))
        .collect();
    crates.sort();
    Some(crates.pop()?.join("src"))
}

#[test]
fn every_kernel_is_decoded() {
    let Some(nvcc) = common::nvcc() else { return };
    let Some(sources) = sources() else {
        eprintln!("SKIPPED: no candle-kernels in cargo's registry");
        return;
    };
    let mut kernels = 0;
    let mut unknown = BTreeMap::<String, usize>::new();
    for file in ["affine", "binary", "cast", "conv", "fill", "indexing", "reduce", "sort", "ternary", "unary"] {
        let text = common::ptx(&nvcc, &sources.join(format!("{file}.cu")));
        let module = LoadedModule::new(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        for name in module.kernels() {
            let program = module.decode(name).unwrap_or_else(|e| panic!("{file}: {name}: {e}"));
            kernels += 1;
            for ins in &program.code {
                let Op::Trap { message } = ins.op else { continue };
                let message = &program.messages[message as usize];
                if !message.contains("e4m3") && !message.starts_with("an assertion") {
                    *unknown.entry(message.clone()).or_default() += 1;
                }
            }
        }
    }
    assert!(kernels > 300, "only {kernels} kernels");
    assert!(unknown.is_empty(), "{unknown:#?}");
}
