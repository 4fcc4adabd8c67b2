#!/usr/bin/env bash
# Packs all that a machine with a GPU needs to measure emopipe, for one without Rust and without network: the program and the test
# executables with CUDA, fixtures, workloads and scripts. Needs nvcc, as every build with `--features cuda`, and no GPU.
#
#     scripts/bench/cuda-pack.sh [ARCHIVE]     # target/emopipe-cuda.tar.xz, for every GPU from compute capability 8.0
#     scripts/bench/cuda-pack.sh --folder      # target/emopipe-cuda alone: for a GPU in this machine
#
# There, with Python 3 (and for the peer torch, transformers and peft in it):
#
#     python3 -m tarfile -e emopipe-cuda.tar.xz . && python3 emopipe-cuda/scripts/bench/cuda.py --out results
set -euo pipefail
cd "$(dirname "$0")/../.."

most_mib=50
archive=${1:-target/emopipe-cuda.tar.xz}
folder=target/emopipe-cuda

# candle's kernels for the oldest GPU that ours are for, whatever GPU is here.
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
rm -rf "$folder"
mkdir -p "$folder/bin/tests" "$folder/scripts/bench" "$folder/tests"
cargo test --release --locked --features cuda --lib --bin emopipe --test parity --test parity_encoder --no-run \
  --message-format=json-render-diagnostics |
  python3 -c '
import json, sys
for line in map(json.loads, sys.stdin):
    # A program and the unit tests of a library are called alike; the program has none of its own here.
    if line.get("executable") and (line["profile"]["test"] == (line["target"]["kind"] != ["bin"])):
        print(line["executable"], "emopipe" if line["target"]["kind"] == ["bin"] else "tests/" + line["target"]["name"])
' | while read -r executable name; do
  strip -o "$folder/bin/$name" "$executable"
done
for name in emopipe tests/emopipe tests/parity tests/parity_encoder; do
  test -x "$folder/bin/$name" || { echo "cargo built no $name" >&2; exit 1; }
done
"$folder/bin/emopipe" --version

cp -r tests/fixtures "$folder/tests/"
cp -r benches "$folder/"
cp scripts/bench/cuda.py scripts/bench/cuda_parts.py scripts/bench/cuda_report.py scripts/bench/peer.py "$folder/scripts/bench/"
if [ "$archive" = --folder ]; then
  exit
fi

# The executables are much alike, so the dictionary spans them all. Same files, same archive.
tar -C target --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - emopipe-cuda |
  xz -c --lzma2=preset=6,dict=256MiB > "$archive.part"
mv "$archive.part" "$archive"
size=$(stat -c %s "$archive")
echo "$archive: $((size >> 20)) MiB"
if [ $((size >> 20)) -ge $most_mib ]; then
  echo "the archive is to be smaller than $most_mib MiB" >&2
  exit 1
fi
