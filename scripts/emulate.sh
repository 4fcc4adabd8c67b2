#!/usr/bin/env bash
# usage: scripts/emulate.sh COMMAND...   runs a program built with the feature `cuda` without a GPU (tests/emulator)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)/tests/emulator
cargo build --quiet --release --manifest-path "$here/Cargo.toml"
built=${CARGO_TARGET_DIR:-$here/target}/release
mkdir -p "$built/cuda"
for name in libcuda.so.1 libcublas.so.13 libcurand.so.10; do
  ln -sf ../libcudaemulator.so "$built/cuda/$name"
done
LD_LIBRARY_PATH=$built/cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$@"
