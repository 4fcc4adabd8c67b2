#!/bin/sh
# What the engine costs, beside ninja, dvc, snakemake and b3sum in the same sitting. Arguments go to `benches/engine.rs`.
# The peers are installed below target/; one that can't be had is skipped, and the output says so.
set -eu

peers=$PWD/target/peers
[ -x "$peers/bin/pip" ] || python3 -m venv "$peers" || echo "SKIPPED pip's peers: no python3 with venv"
for peer in ninja dvc snakemake; do
    [ -x "$peers/bin/$peer" ] || "$peers/bin/pip" install --quiet "$peer" || echo "SKIPPED $peer: pip can't install it"
done
PATH=$peers/bin:$PATH
export PATH
command -v b3sum >/dev/null || cargo install --quiet --locked --root "$peers" b3sum || echo "SKIPPED b3sum: cargo can't install it"

for peer in ninja dvc snakemake b3sum; do
    command -v "$peer" >/dev/null && echo "$peer $("$peer" --version | sed 's/^b3sum //')"
done
echo "load: $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) cores"
cargo bench --locked --bench engine -- "$@"
