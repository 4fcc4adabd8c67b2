#!/usr/bin/env bash
# Puts a CUDA toolkit into a folder, for building `--features cuda` where none is installed: no root, no GPU, 0.4 GB.
#
#     eval "$(scripts/cuda-toolkit.sh ~/cuda)"      # prints what to export
#     cargo build --release --locked --features cuda
set -euo pipefail

if [ $# != 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)

# The compiler of CUDA 13.0, and the headers and the static runtime that candle's kernels include and link.
packages=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85
  nvidia-curand==10.4.0.35
)
toolkit=$folder/nvidia/cu13
if [ "$(cat "$folder/packages" 2> /dev/null)" != "${packages[*]}" ]; then
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
    --no-deps --upgrade --target "$folder" "${packages[@]}" >&2
  # Wheels carry no links and not always the right to execute.
  chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
  ln -sfn lib "$toolkit/lib64"
  echo "${packages[*]}" > "$folder/packages"
fi

"$toolkit/bin/nvcc" --version >&2
echo "export CUDA_HOME='$toolkit'"
echo "export PATH='$toolkit/bin':\$PATH"
