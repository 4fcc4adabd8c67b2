#!/usr/bin/env bash
# Checks the `cuda` feature as far as this machine can: the types of its Rust side always; with a toolkit also the kernels, for
# every architecture, the whole program, and that it starts without a driver.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

nvcc=$(command -v nvcc || ls {"${CUDA_HOME:-}","${CUDA_PATH:-}",/usr/local/cuda}/bin/nvcc 2> /dev/null | head -n 1 || true)
if [ -n "$nvcc" ]; then
  export NVCC=$nvcc
else
  # An architecture that no real build asks for, so that empty kernels are never taken for up to date.
  export NVCC=$PWD/scripts/nvcc-stub CUDA_COMPUTE_CAP=50
fi
cargo clippy --release --locked --features cuda --all-targets -- -D warnings

# Every function that cudarc declares and that returns a status must be in our list.
manifest=$(cargo metadata --locked --format-version 1 --features cuda --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
  grep -oE '"manifest_path":"[^"]*/cudarc-[^"]*"' | head -n 1 | cut -d '"' -f 4)
declared=$(cd "$(dirname "$manifest")/src" && grep -hoE '^pub unsafe fn [A-Za-z0-9_]+\(.*-> (CUresult|cublasStatus_t|curandStatus_t|nvrtcResult) ' \
  {driver,cublas,cublaslt,curand,nvrtc}/sys/mod.rs | sed -E 's/^pub unsafe fn ([A-Za-z0-9_]+).*/\1/' | LC_ALL=C sort -u)
if ! diff <(echo "$declared") build/cuda-functions.txt; then
  echo "build/cuda-functions.txt isn't what cudarc declares; make it so" >&2
  exit 1
fi

if [ -z "$nvcc" ]; then
  echo "SKIPPED: no nvcc here, so the kernels weren't compiled (scripts/cuda-toolkit.sh fetches one)"
  exit
fi

# Registers and spills of every kernel, compiled as drivers do: from the PTX of compute capability 8.0. What a thread spills goes
# through memory, and with more than 255 registers it has to; kernels for bf16 are the ones that are to be fast, so they keep some
# to spare (attention_keys_bf16_128 alone has 128 sums). What is spilled today is a few bytes of a kernel for small heads in f32.
most_spilled=16
most_registers=255
most_registers_bf16=240
object=$(mktemp)
trap 'rm -f "$object"' EXIT
echo "kernel, architecture: registers, bytes spilled (stored + loaded)"
for kernel in src/models/ops/cuda/*.cu; do
  for arch in 80 86 89 90; do
    said=$("$nvcc" -cubin -gencode "arch=compute_80,code=sm_$arch" -O3 -std=c++17 -Xptxas -v -o "$object" "$kernel" 2>&1) ||
      { echo "$said" >&2; exit 1; }
    awk -v arch="sm_$arch" -v spilled=$most_spilled -v most=$most_registers -v bf16=$most_registers_bf16 '
      /Compiling entry function/ { split($0, part, "\x27"); name = part[2]; bytes = 0 }
      /spill stores/ { for (i = 2; i <= NF; i++) if ($(i + 1) == "spill") bytes += $(i - 1) }
      /Used [0-9]+ registers/ {
        for (i = 1; i < NF; i++) if ($i == "Used") registers = $(i + 1)
        limit = name ~ /bf16/ ? bf16 : most
        print name ", " arch ": " registers ", " bytes
        kernels++
        if (bytes > spilled || registers > limit) {
          print name " for " arch " may use " limit " registers and spill " spilled " bytes" > "/dev/stderr"
          failed = 1
        }
      }
      END { exit failed || !kernels }' <<< "$said"
  done
done

cargo build --release --locked --features cuda
if ldd target/release/emopipe | grep -E "cuda|cublas|curand|nvrtc"; then
  echo "the program must not need CUDA's libraries to start" >&2
  exit 1
fi
target/release/emopipe --version
